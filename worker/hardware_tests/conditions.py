"""Notes the clock, the power, the temperature and the reasons for a slower clock while a device computes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter_ns
from typing import Any

from worker.hardware.clocks import read_limits, read_mhz
from worker.hardware.heat import read_heat
from worker.hardware.load import allowed_cpus
from worker.hardware.one_gpu import OneGpu, open_gpu

EVERY_S = 0.5


@dataclass(frozen=True)
class Condition:
    """Holds one look at the device. None where it does not tell."""

    clock_mhz: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    reasons: tuple[str, ...] = ()  # why the clock is lower than the work would need


@dataclass
class Conditions:
    """Looks at the device between two calls, at most every half second, and summarises what it saw."""

    look: Callable[[], Condition]
    max_mhz: float | None = None
    _seen: list[Condition] = field(default_factory=list)
    _looked_at_ns: int = 0

    def note(self) -> None:
        now = perf_counter_ns()
        if not self._seen or now - self._looked_at_ns >= EVERY_S * 1e9:
            self._seen.append(self.look())
            self._looked_at_ns = now

    def summary(self) -> dict[str, Any]:
        clocks = [seen.clock_mhz for seen in self._seen if seen.clock_mhz is not None]
        heat = [seen.temperature_c for seen in self._seen if seen.temperature_c is not None]
        power = [seen.power_w for seen in self._seen if seen.power_w is not None]
        return {
            "clock_mhz_lowest": min(clocks, default=None),
            "clock_mhz_median": median(clocks) if clocks else None,
            "clock_mhz_possible": self.max_mhz,
            "temperature_c_highest": max(heat, default=None),
            "power_w_average": sum(power) / len(power) if power else None,
            "reasons_for_a_slower_clock": sorted({reason for seen in self._seen for reason in seen.reasons}),
            "looks": len(self._seen),
        }


def of_cpu() -> Conditions:
    """Return the conditions of the CPUs that this process may use. Their power is not known here: a sampler measures it."""
    cpus = allowed_cpus(os.getpid())

    def look() -> Condition:
        heat = read_heat()
        return Condition(read_mhz(cpus), heat.temperature_c, None, (*heat.cooling, *heat.firmware))

    return Conditions(look, read_limits(cpus).max_mhz)


def of_gpu(uuid: str) -> Conditions:
    """Return the conditions of the NVIDIA GPU with this id, or of the only GPU. They are empty where NVML does not tell."""
    handle = open_gpu(uuid)
    if handle is None:
        return Conditions(Condition)
    return Conditions(lambda: _gpu_condition(handle), handle.max_clock_mhz())


def _gpu_condition(gpu: OneGpu) -> Condition:
    return Condition(gpu.clock_mhz(), gpu.temperature_c(), gpu.power_w(), gpu.reasons())
