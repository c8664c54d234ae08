"""Watches one NVIDIA GPU through NVML while it computes: its clock, power and temperature, and the reasons for a lower clock."""

from __future__ import annotations

from typing import Any

from worker.hardware.gpu_state import POWER_CAP, SLOWDOWNS


class OneGpu:
    """Holds NVML's handle of one GPU. A question that the device does not support is answered with None."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle

    def clock_mhz(self) -> float | None:
        return self._asked(self._nvml.nvmlDeviceGetClockInfo, self._nvml.NVML_CLOCK_SM)

    def max_clock_mhz(self) -> float | None:
        return self._asked(self._nvml.nvmlDeviceGetMaxClockInfo, self._nvml.NVML_CLOCK_SM)

    def temperature_c(self) -> float | None:
        return self._asked(self._nvml.nvmlDeviceGetTemperature, self._nvml.NVML_TEMPERATURE_GPU)

    def power_w(self) -> float | None:
        milliwatts = self._asked(self._nvml.nvmlDeviceGetPowerUsage)
        return None if milliwatts is None else milliwatts / 1000

    def reasons(self) -> tuple[str, ...]:
        """Return why the clock is lower than the work would need."""
        bits = int(self._asked(self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons) or 0)
        return tuple(meaning for bit, meaning in {**SLOWDOWNS, POWER_CAP: "power limit"}.items() if bits & bit)

    def _asked(self, question: Any, *arguments: Any) -> float | None:
        try:
            return float(question(self._handle, *arguments))
        except self._nvml.NVMLError:  # a laptop's GPU or a MIG instance does not support every query
            return None


def open_gpu(uuid: str) -> OneGpu | None:
    """Return the GPU with this id, or the only GPU of the machine if the id is empty. None where NVML does not know it.

    NVML stays open until the process ends. It creates no CUDA context.
    """
    try:
        import pynvml

        pynvml.nvmlInit()
    except ImportError:
        return None
    except pynvml.NVMLError:
        return None
    try:
        if uuid:
            return OneGpu(pynvml, pynvml.nvmlDeviceGetHandleByUUID(uuid))
        return OneGpu(pynvml, pynvml.nvmlDeviceGetHandleByIndex(0)) if pynvml.nvmlDeviceGetCount() == 1 else None
    except pynvml.NVMLError:
        return None
