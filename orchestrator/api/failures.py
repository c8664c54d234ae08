"""Limits how often an address may try a wrong token."""

from __future__ import annotations

import math
from collections import OrderedDict

from shared.clock import Clock

BURST = 20  # the number of wrong tokens at once: a script of twenty calls with a mistyped token still learns what is wrong
FORGIVEN_EVERY_S = 3.0
REMEMBERED = 10_000  # the number of addresses; the one with the oldest last failure is forgotten first


class Failures:
    """Counts failures by address. It allows `BURST` at once, then one every `FORGIVEN_EVERY_S`. It keeps one number per address."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._clear_at: OrderedDict[str, float] = OrderedDict()  # the time (monotonic) when the last failure of each address is forgiven

    def wait_s(self, address: str) -> int:
        """Return the whole seconds until this address may try again; 0 if it may try now."""
        excess = self._clear_at.get(address, 0.0) - self._clock.monotonic() - (BURST - 1) * FORGIVEN_EVERY_S
        return max(0, math.ceil(excess))

    def add(self, address: str) -> None:
        now = self._clock.monotonic()
        self._clear_at[address] = max(now, self._clear_at.get(address, now)) + FORGIVEN_EVERY_S
        self._clear_at.move_to_end(address)
        if len(self._clear_at) > REMEMBERED:
            self._clear_at.popitem(last=False)
