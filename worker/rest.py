"""Decides how long a device takes no job after the device itself has failed."""

from __future__ import annotations

import math

from shared.clock import Clock
from shared.errors import DeviceFailed, HostBusy

REST_S = 10.0  # long enough for another worker to take the next attempt, which is sent a second or two later
LONGEST_REST_S = 600.0
OWN_FAILURES = frozenset({DeviceFailed.kind, HostBusy.kind})  # failures of the device: another device may be able to run the same job


class Rest:
    """Makes a device rest after each failure of its own, each time twice as long. So a broken device does not fail a whole campaign."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until, self._next_s = -math.inf, REST_S

    def after_failure(self) -> float:
        """Begin to rest. Returns the duration in seconds."""
        lasts_s = self._next_s
        self._until = self._clock.monotonic() + lasts_s
        self._next_s = min(lasts_s * 2, LONGEST_REST_S)
        return lasts_s

    def after_success(self) -> None:
        """Make the next rest a short one again, because the device works."""
        self._next_s = REST_S

    @property
    def lasts(self) -> bool:
        return self._clock.monotonic() < self._until
