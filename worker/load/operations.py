"""Computes the figures of one operation among several that are mixed in a phase. Everything here is pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from worker.load.phases import Measured


def rate_of(operation: int) -> Callable[[Sequence[Measured]], float | None]:
    """Return a function that computes how many requests of an operation succeeded in the windows, per second of them.

    It returns None if the load has no such request.

    Args:
        operation: Its place in the driver's `operations`.
    """

    def rate_of_operation(phases: Sequence[Measured]) -> float | None:
        windows, succeeded, counted = 0.0, 0, 0
        for phase in phases:
            chosen = phase.records["operation"] == operation
            windows += phase.window_s()
            succeeded += int((phase.completed() & chosen).sum())
            counted += int((phase.counted() & chosen).sum())
        return succeeded / windows if counted and windows > 0 else None

    return rate_of_operation
