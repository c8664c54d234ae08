"""Heavy work of a worker's own, such as hashing and downloading models, which must not disturb a neighbour that measures."""

from __future__ import annotations

from collections.abc import Callable

from shared.clock import Clock
from worker.supervisor.host_lock import HostLock

SLICE_S = 2.0  # of work before a neighbour that waits to measure is let in: so it waits no longer, and this work gets on between its jobs


class HeavyWork:
    """Holds the host's lock together with others, and lets a measurement in between two pieces of the work.

    Args:
        take: waits for a share of the lock, and returns what gives it back.
    """

    def __init__(self, lock: HostLock, take: Callable[[], Callable[[], None]], clock: Clock) -> None:
        self._lock, self._take, self._clock = lock, take, clock
        self._give_back: Callable[[], None] | None = None
        self._since = 0.0

    def step(self) -> None:
        """To be called before each piece of work. Returns when the piece may be done; raises what `take` does."""
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
        """The work is done, or given up."""
        if self._give_back is not None:
            self._give_back()
            self._give_back = None
