"""Makes rates of counters: how much a counter grew between two readings, for each second."""

from __future__ import annotations

from collections.abc import Mapping

from shared.clock import Clock


class Rates:
    """Keeps the last reading of some counters. The first reading gives no rate."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at = 0.0
        self._last: Mapping[str, float] = {}

    def of(self, counters: Mapping[str, float]) -> dict[str, float]:
        """Return the rate of each counter that was in the last reading, too. One that has become smaller has started again at zero."""
        now = self._clock.monotonic()
        passed, last = now - self._at, self._last
        self._at, self._last = now, counters
        if passed <= 0:
            return {}
        return {name: (value if value < last[name] else value - last[name]) / passed for name, value in counters.items() if name in last}
