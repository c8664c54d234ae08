"""How long a device takes no job after a failure of its own."""

from __future__ import annotations

import math

from shared.clock import Clock

REST_S = 10.0  # long enough for another worker to take the next attempt, which comes a second or two later
LONGEST_REST_S = 600.0


class Rest:
    """After each failure of the device's own it rests, each time twice as long. So a broken device does not fail a whole campaign."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until, self._next_s = -math.inf, REST_S

    def after_failure(self) -> float:
        """Begin to rest. Returns for how many seconds."""
        lasts_s = self._next_s
        self._until = self._clock.monotonic() + lasts_s
        self._next_s = min(lasts_s * 2, LONGEST_REST_S)
        return lasts_s

    def after_success(self) -> None:
        """The device works: its next rest is a short one again."""
        self._next_s = REST_S

    @property
    def lasts(self) -> bool:
        return self._clock.monotonic() < self._until
