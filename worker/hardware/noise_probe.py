"""Observes the machine before, during and after a measurement, and grades what it saw.

A sensor that cannot be read gives None, whatever the cause. No sensor failure may stop a measurement.
"""

from __future__ import annotations

import logging
import math
import os
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psutil

from shared.clock import Clock
from shared.measurements import Noise
from worker.hardware.clocks import read_governor, read_limits, read_mhz, read_turbo
from worker.hardware.gpu_state import GpuState, GpuWatch, seen_on_gpu, watch_of
from worker.hardware.heat import Heat, read_heat
from worker.hardware.load import Look, allowed_cpus, look, other_cores, relatives_of, steal_share
from worker.hardware.noise import grade
from worker.hardware.noise_windows import Window
from worker.hardware.quota import Group, cores_allowed, read_quotas, throttling_between
from worker.hardware.surroundings import load_1m, on_battery, virtual

log = logging.getLogger(__name__)

T = TypeVar("T")

# The load before a measurement is computed since an earlier look. That look must be at least MIN_WINDOW_S old, because the kernel counts
# in ticks of 10 ms, and at most MAX_WINDOW_S, so that it shows the load *just* before. The window may reach into the last measurement,
# whose processes count as ours. So small jobs that follow each other do not have to wait.
MIN_WINDOW_S = 0.05
MAX_WINDOW_S = 10.0
LOOKS_KEPT = 16  # a measurement takes two looks
SEARCH_AGAIN_S = 10.0  # how often to look for other parts of the same `fleetmark up` if none were found; a search takes milliseconds
_GUARD_ACCOUNTS_FOR_RUNNERS = sys.platform == "linux"  # elsewhere psutil does not give the CPU time of ended children


@dataclass(frozen=True)
class Measured:
    """Holds what the supervisor knows of the measured processes after they have ended."""

    cpu_s: float = 0.0  # the CPU time of all measured processes
    threads: int | None = None  # the threads that the runtime says it uses
    voided: int = 0  # repeats that were measured again because their process stood still
    stood_still_s: float = 0.0


@dataclass(frozen=True)
class _State:
    look: Look | None
    quotas: tuple[Group, ...] | None
    heat: Heat | None
    gpu: GpuState | None


@dataclass
class _Seen:
    """Collects the readings during a measurement."""

    mhz: list[float] = field(default_factory=list)
    heat: list[Heat] = field(default_factory=list)
    gpu: list[GpuState] = field(default_factory=list)


class NoiseProbe:
    """Observes one measurement at a time: call `before`, then `during` any number of times, then `after` or `observed`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._looks: deque[Look] = deque(maxlen=LOOKS_KEPT)
        self._before: _State | None = None
        self._seen = _Seen()
        self._facts: dict[str, Any] = {}
        self._guard = os.getpid()
        self._allowed: frozenset[int] | None = None
        self._relatives: frozenset[int] = frozenset()
        self._searched_at = -math.inf  # when relatives were last searched for, in monotonic seconds
        self._gpu: GpuWatch | None = None
        self._mute: set[str] = set()  # the probes whose failure has been logged

    def remember(self, guard: int) -> None:
        """Take a first look, from which the load before the next measurement is computed.

        Args:
            guard: The process that starts the measured ones. Its own work, such as its imports, does not count as other work.
        """
        self._watch(guard)
        self._note(self._look())

    def forget(self) -> None:
        """Begin the window anew. What another worker measured while this one waited for it is over, and no other work just before."""
        self._looks.clear()

    def before(self, capability: str, guard: int, facts: Mapping[str, Any]) -> None:
        """Look just before the first process is measured. Waits for up to `MIN_WINDOW_S` if the last look is too recent.

        Args:
            facts: What the supervisor knows of the machine. It is added to the facts of the noise.
        """
        self._watch(guard)
        last = self._window_start()
        watch = watch_of(capability)
        if watch is not None:
            self._gpu = self._told("gpu", watch)
        self._seen = _Seen()
        self._before = self._state()
        self._note(self._before.look)
        limits = self._told("clock_limits", lambda: read_limits(self._allowed))
        self._facts = {name: self._told(name, probe) for name, probe in _SETTINGS.items()} | {
            "capability": capability,
            "cpus_allowed": len(self._allowed) if self._allowed is not None else psutil.cpu_count(),
            "mhz_limit": limits.max_mhz if limits else None,
            "mhz_sustained": limits.sustained_mhz if limits else None,
            "quota_cores": cores_allowed(self._before.quotas or ()),
            "other_cores_before": other_cores(last, self._before.look, 0.0, relatives_are_ours=True),
            **facts,
        }

    def during(self) -> None:
        """Read clocks and heat while a process is measured. Call it twice a second at most, because it takes up to a millisecond."""
        mhz = self._told("clock", lambda: read_mhz(self._allowed))
        heat = self._told("heat", read_heat)
        gpu = self._gpu_state(processes=False)
        self._seen.mhz += [] if mhz is None else [mhz]
        self._seen.heat += [] if heat is None else [heat]
        self._seen.gpu += [] if gpu is None else [gpu]

    def after(self, measured: Measured) -> Noise:
        """Look just after the last process has ended, and return the grade."""
        return grade(self.observed(measured).facts)

    def observed(self, measured: Measured) -> Window:
        """Look just after the last process has ended, and return what was seen since `before`."""
        before = self._before
        if before is None:
            raise RuntimeError("noise was asked for without a look before")
        after = self._state()
        self._note(after.look)
        self._before = None
        if self._gpu is not None:
            self._gpu.close()
            self._gpu = None
        wall_s = after.look.at - before.look.at if after.look and before.look else 0.0
        unaccounted_s = 0.0 if _GUARD_ACCOUNTS_FOR_RUNNERS else measured.cpu_s
        facts = self._facts | {
            "other_cores": other_cores(before.look, after.look, unaccounted_s, relatives_are_ours=False),
            "cores_used": measured.cpu_s / wall_s if wall_s > 0 else None,
            "threads": measured.threads,
            "steal": steal_share(before.look, after.look),
            "repeats_voided": measured.voided,
            "stood_still_s": measured.stood_still_s,
            **_quota_facts(before, after),
            **_heat_facts(before, after, self._seen),
            **_gpu_facts(before.gpu, after.gpu, self._seen.gpu),
        }
        return Window(wall_s, facts)

    def _note(self, seen: Look | None) -> None:
        if seen is not None:
            self._looks.append(seen)

    def _window_start(self) -> Look | None:
        """Return the latest look that is old enough and not too old. If there is none, take one or wait until one is old enough."""
        now = self._clock.monotonic()
        recent = [seen for seen in self._looks if now - seen.at <= MAX_WINDOW_S]
        for seen in reversed(recent):
            if now - seen.at >= MIN_WINDOW_S:
                return seen
        first = recent[0] if recent else self._look()
        if first is not None and (short := MIN_WINDOW_S - (self._clock.monotonic() - first.at)) > 0:
            self._clock.sleep(short)
        return first

    def _watch(self, guard: int) -> None:
        if guard != self._guard or self._allowed is None:
            self._guard = guard
            self._allowed = self._told("affinity", lambda: allowed_cpus(guard))
        now = self._clock.monotonic()
        gone = not all(psutil.pid_exists(pid) for pid in self._relatives)
        if gone or (not self._relatives and now - self._searched_at > SEARCH_AGAIN_S):
            self._searched_at = now
            self._relatives = self._told("process_tree", lambda: relatives_of(os.getpid())) or frozenset()

    def _told(self, name: str, probe: Callable[[], T]) -> T | None:
        try:
            return probe()
        except Exception as error:  # noqa: BLE001 - drivers raise any type of exception; each failing probe gives None and is logged once
            if name not in self._mute:
                log.warning("this device does not tell its %s: %s: %s", name.replace("_", " "), type(error).__name__, error)
            self._mute.add(name)
            return None

    def _look(self) -> Look | None:
        ours = {os.getpid(), self._guard}
        return self._told("cpu_times", lambda: look(self._clock, self._allowed, ours, (self._relatives or frozenset()) - ours))

    def _gpu_state(self, *, processes: bool) -> GpuState | None:
        watch = self._gpu
        return None if watch is None else self._told("gpu", lambda: watch.state(processes=processes))

    def _state(self) -> _State:
        return _State(
            look=self._look(),
            quotas=self._told("quota", lambda: read_quotas(self._guard)),
            heat=self._told("heat", read_heat),
            gpu=self._gpu_state(processes=True),
        )


def _quota_facts(before: _State, after: _State) -> dict[str, Any]:
    step = throttling_between(before.quotas or (), after.quotas or ())
    return {
        "quota_periods": step.periods if step else None,
        "throttled_periods": step.throttled if step else None,
        "throttled_s": step.throttled_s if step else None,
    }


def _heat_facts(before: _State, after: _State, seen: _Seen) -> dict[str, Any]:
    looks = [heat for heat in (before.heat, *seen.heat, after.heat) if heat is not None]
    hottest = max((heat for heat in looks if heat.temperature_c is not None), key=lambda heat: heat.temperature_c or 0.0, default=None)
    counts = [heat.throttle_events if heat else None for heat in (before.heat, after.heat)]
    return {
        "mhz_under_load_min": min(seen.mhz, default=None),
        "mhz_under_load_max": max(seen.mhz, default=None),
        "temperature_c_before": before.heat.temperature_c if before.heat else None,
        "temperature_c_max": hottest.temperature_c if hottest else None,
        "temperature_limit_c": hottest.limit_c if hottest else None,
        "throttle_events": _difference(*counts),
        "cooling": sorted({device for heat in seen.heat for device in heat.cooling}),
        "firmware_limits": sorted({limit for heat in looks for limit in heat.firmware}),
    }


def _gpu_facts(before: GpuState | None, after: GpuState | None, during: list[GpuState]) -> dict[str, Any]:
    if before is None or after is None:
        return {"foreign_gpu_processes": None}
    slowed = _difference(before.slowed_by_heat_ns, after.slowed_by_heat_ns)
    temperatures = [state.temperature_c for state in (before, *during, after) if state.temperature_c is not None]
    return {
        "foreign_gpu_processes": seen_on_gpu(before.processes, after.processes),
        "gpu_temperature_c_max": max(temperatures, default=None),
        "gpu_slowdowns": sorted({slowdown for state in during for slowdown in state.slowdowns}),
        "gpu_power_capped": any(state.power_capped for state in during),
        "gpu_slowed_by_heat_s": slowed / 1e9 if slowed is not None else None,
    }


def _difference(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before


_SETTINGS: dict[str, Callable[[], Any]] = {
    "cpus": psutil.cpu_count,
    "governor": read_governor,
    "turbo": read_turbo,
    "virtual": virtual,
    "on_battery": on_battery,
    "load_1m": load_1m,
}
