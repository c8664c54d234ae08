"""Defines the clock. Code that needs the time receives a `Clock` as an argument and does not read the time in any other way.

The measured loop is the exception. It calls `time.perf_counter_ns` directly, because the cost of a method call would be measured too.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """Return the wall-clock time in UTC, with its time zone set."""

    def monotonic(self) -> float:
        """Return the seconds since an arbitrary start. The value never decreases."""

    def sleep(self, seconds: float) -> None: ...


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class FakeClock:
    """Is a clock for tests. Its time changes only when `advance` or `sleep` is called."""

    def __init__(self, start: datetime) -> None:
        self._start = start
        self._elapsed = 0.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._start.timestamp() + self._elapsed, UTC)

    def monotonic(self) -> float:
        return self._elapsed

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        self._elapsed += seconds


CLOCK_TOLERANCE_S = 5.0  # clocks synchronised by NTP differ by far less, but a registration may take a second or two to arrive


def clock_warning(offset_s: float | None) -> str:
    """Return a warning about a device's clock, with what to do, or an empty text.

    Args:
        offset_s: the seconds by which it is ahead of the orchestrator's clock; negative if it is behind, None if unknown.
    """
    if offset_s is None or abs(offset_s) <= CLOCK_TOLERANCE_S:
        return ""
    where = "ahead of" if offset_s > 0 else "behind"
    return (
        f"the clock of this device is {abs(offset_s):.0f} s {where} the orchestrator's, and times in its logs and results are wrong "
        "by that: have both machines set their clocks by NTP"
    )
