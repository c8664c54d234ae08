"""Says which numbers can be drawn. It needs no matplotlib, which costs a second of CPU."""

from __future__ import annotations

# Beyond these, matplotlib overflows while it scales an axis, and the whole report would fail. No device has such figures, but a worker with
# a defect may send them.
SMALLEST, LARGEST = 1e-100, 1e100


def drawable(*values: float | None) -> bool:
    """Return whether numbers can be drawn. None is nothing to draw, and does no harm."""
    return all(not value or SMALLEST <= abs(value) <= LARGEST for value in values)
