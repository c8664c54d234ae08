"""Remembers for some minutes what the idle device takes, for all jobs of a worker."""

from __future__ import annotations

import math
from collections.abc import Callable

from shared.clock import Clock
from shared.columns import Feeds
from shared.energy import Window
from worker.samplers.looks import Looks
from worker.supervisor.beside import beside
from worker.supervisor.sampling import SLICE_S, Sampling

OPEN_PATIENCE_S = 20.0  # NVML may take seconds to load a driver that is not kept loaded
LASTS_S = 600.0  # how long an idle power counts for the measurements that follow


class IdlePower:
    """Samples the idle device where something shows its energy, and keeps its power in W, by what the jobs use.

    Args:
        idle_s: How long the idle device is sampled.
    """

    def __init__(self, clock: Clock, idle_s: float) -> None:
        self._clock, self._idle_s = clock, idle_s
        self._shows_energy: bool | None = None  # whether this device does; None if that is not known yet
        self._watts: dict[Feeds, float] = {}
        self._until: dict[Feeds, float] = {}

    def watts(self, uses: Feeds) -> float | None:
        return self._watts.get(uses)

    def is_wanted(self, uses: Feeds) -> bool:
        """Return whether the idle device has to be sampled: before the first measurement, and `LASTS_S` after it was sampled last.

        It is false for good if nothing shows the energy of this device.
        """
        return self._shows_energy is not False and self._clock.monotonic() >= self._until.get(uses, -math.inf)

    def sample(self, sampling: Sampling, uses: Feeds, check_stop: Callable[[], None]) -> Window | None:
        """Wait while a process samples the idle device. Returns when that was, or None if it is not possible.

        Raises:
            Stopped: `check_stop` says so.
        """
        shows = sampling.await_open(OPEN_PATIENCE_S, check_stop)
        if shows is None:
            return None
        self._shows_energy = shows
        if not shows:
            return None
        begin = self._clock.monotonic()
        while (left := begin + self._idle_s - self._clock.monotonic()) > 0:
            check_stop()
            self._clock.sleep(min(SLICE_S, left))
        self._until[uses] = self._clock.monotonic() + LASTS_S
        return Window(begin, self._clock.monotonic() - begin, 0)

    def keep(self, looks: Looks, idle: Window, uses: Feeds) -> None:
        """Keep the idle power that these samples show. If they show none, it is unknown for the jobs that follow."""
        _, found = beside(looks, (), uses, idle)
        self._watts.pop(uses, None)
        if found.energy.idle_w is not None:
            self._watts[uses] = found.energy.idle_w
