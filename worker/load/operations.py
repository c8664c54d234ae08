"""Computes the figures of one operation among several that are mixed in a phase. Everything here is pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from shared.request_records import SUCCESS
from worker.load.phases import NS, Measured, ended_of


def rate_of(operation: int) -> Callable[[Sequence[Measured]], float | None]:
    """Return a function that computes how many requests of an operation succeeded in the windows, per second of them.

    It returns None if the load has no such request.

    Args:
        operation: Its place in the driver's `operations`.
    """

    def rate_of_operation(phases: Sequence[Measured]) -> float | None:
        windows, succeeded, measured = 0.0, 0, 0
        for phase in phases:
            window_s = phase.window_s()
            windows += window_s
            measured += phase.tally.operations.get(operation, (0, 0))[0]
            for block in phase.blocks():
                ended = ended_of(block)
                good = (block["operation"] == operation) & (block["failure"] == SUCCESS)
                succeeded += int((good & (ended >= 0) & (ended <= window_s * NS)).sum())
        return succeeded / windows if measured and windows > 0 else None

    return rate_of_operation
