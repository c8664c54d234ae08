"""Reads through NVML what may disturb a measurement on an NVIDIA GPU: other processes, heat, and limits that slow its clocks."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

# These bits of nvmlClocksEventReasons mean that the clocks are lower than the work would need.
SLOWDOWNS = {
    0x08: "hardware slowdown",
    0x20: "heat (software)",
    0x40: "heat (hardware)",
    0x80: "power brake",
}
POWER_CAP = 0x04  # usual for a GPU at full load; its clocks then depend on its power and temperature


@dataclass(frozen=True)
class GpuState:
    """Holds the state of all NVIDIA GPUs at one moment. None where the driver does not tell."""

    processes: frozenset[int] | None = None
    temperature_c: float | None = None  # the temperature of the hottest GPU
    slowdowns: tuple[str, ...] = ()
    power_capped: bool | None = None
    slowed_by_heat_ns: int | None = None  # the time since the driver was loaded, summed over all GPUs


class GpuWatch:
    """Keeps NVML open during one measurement, because opening it takes longer than all the queries.

    NVML creates no CUDA context, so this process uses no memory of a GPU.
    """

    def __init__(self) -> None:
        """Open NVML.

        Raises:
            NVMLError: There is no driver.
        """
        import pynvml

        self._nvml: Any = pynvml
        pynvml.nvmlInit()
        self._counted: int = pynvml.nvmlDeviceGetCount()
        found = (self._asked(pynvml.nvmlDeviceGetHandleByIndex, index) for index in range(self._counted))
        self._handles = [handle for handle in found if handle is not None]  # one that has fallen off the bus cannot be opened

    def close(self) -> None:
        with contextlib.suppress(self._nvml.NVMLError):
            self._nvml.nvmlShutdown()

    def state(self, *, processes: bool) -> GpuState:
        """Return the current state of the GPUs.

        Args:
            processes: Whether to list the processes that compute on the GPUs. Ask for them only while none of our own processes runs there.
        """
        reasons = [self._asked(self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle) for handle in self._handles]
        known = [int(reason) for reason in reasons if reason is not None]
        temperatures = [
            self._asked(self._nvml.nvmlDeviceGetTemperature, handle, self._nvml.NVML_TEMPERATURE_GPU) for handle in self._handles
        ]
        violations = [
            self._asked(self._nvml.nvmlDeviceGetViolationStatus, handle, self._nvml.NVML_PERF_POLICY_THERMAL) for handle in self._handles
        ]
        slowed = [int(violation.violationTime) for violation in violations if violation is not None]
        return GpuState(
            processes=self._processes() if processes else None,
            temperature_c=max((float(value) for value in temperatures if value is not None), default=None),
            slowdowns=tuple(meaning for bit, meaning in SLOWDOWNS.items() if any(reason & bit for reason in known)),
            power_capped=any(reason & POWER_CAP for reason in known) if known else None,
            slowed_by_heat_ns=sum(slowed) if slowed else None,
        )

    def _processes(self) -> frozenset[int] | None:
        """Return the processes on all GPUs, or None if one of the GPUs cannot be asked: an empty set would say that there is none."""
        if len(self._handles) < self._counted:
            return None
        found: set[int] = set()
        for handle in self._handles:
            running = self._asked(self._nvml.nvmlDeviceGetComputeRunningProcesses, handle)
            if running is None:
                return None
            found |= {process.pid for process in running}
        return frozenset(found)

    def _asked(self, question: Any, *arguments: Any) -> Any:
        try:
            return question(*arguments)
        except self._nvml.NVMLError:  # a laptop's GPU or a MIG instance does not support every query
            return None


def seen_on_gpu(before: frozenset[int] | None, after: frozenset[int] | None) -> list[int] | None:
    """Return the processes seen before or after the measurement. None if none was seen and one of the lists is unknown."""
    seen = (before or frozenset()) | (after or frozenset())
    return sorted(seen) if seen or (before is not None and after is not None) else None


# This says what watches the GPU during a job, by the whole name of its capability or by the part before the engine. Other jobs use no GPU
# of NVIDIA.
WATCHES: dict[str, type[GpuWatch]] = {"gpu.cuda": GpuWatch, "hardware.cuda": GpuWatch}


def watch_of(capability: str) -> type[GpuWatch] | None:
    return WATCHES.get(capability) or WATCHES.get(capability.rpartition(".")[0])
