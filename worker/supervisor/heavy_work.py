"""Runs the worker's own heavy work, such as hashing and downloading models, without disturbing another worker that measures."""

from __future__ import annotations

from collections.abc import Callable

from shared.clock import Clock
from worker.supervisor.host_lock import HostLock

# How long the work goes on before it lets in another worker that waits to measure. So the heavy work still makes progress between two
# measurements. That worker waits this long at most, unless one piece of the work takes longer.
SLICE_S = 2.0


class HeavyWork:
    """Holds the host's lock in shared mode during heavy work, and releases it between two pieces of work when a measurement waits.

    Args:
        take: Waits for a share of the lock. Returns a function that gives the share back.
    """

    def __init__(self, lock: HostLock, take: Callable[[], Callable[[], None]], clock: Clock) -> None:
        self._lock, self._take, self._clock = lock, take, clock
        self._give_back: Callable[[], None] | None = None
        self._since = 0.0

    def step(self) -> None:
        """Wait until the next piece of work may be done. Call it before each piece. It raises what `take` raises."""
        if self._give_back is not None:
            if self._clock.monotonic() - self._since < SLICE_S:
                return
            if not self._lock.is_wanted():
                self._since = self._clock.monotonic()
                return
            self.close()
        self._give_back = self._take()
        self._since = self._clock.monotonic()

    def close(self) -> None:
        """Give the lock back. Call it when the work is done or has failed, and before a wait. The next `step` takes the lock again."""
        if self._give_back is not None:
            self._give_back()
            self._give_back = None
