"""Reads the NVIDIA GPUs through NVML. No CUDA context is created, so the worker uses no memory of the device."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from worker.hardware.gpu import Answer, Gpu, tensor_cores


def ask_nvml() -> Answer:
    """Return every GPU that NVML knows, in its current state. A missing driver, library or device is reported in `note`, not raised."""
    try:
        import pynvml
    except ImportError:
        return Answer(note="nvidia-ml-py is not installed")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return Answer(note=f"NVML: {error}")
    try:
        devices: list[Gpu] = []
        errors: list[str] = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            try:
                devices.append(_read_one(pynvml, index))
            except pynvml.NVMLError as error:
                errors.append(f"GPU {index}: {error}")
        note = "" if devices or errors else "NVML: the driver knows no GPU"
        return Answer(tuple(devices), str(pynvml.nvmlSystemGetDriverVersion()), note, tuple(errors))
    except pynvml.NVMLError as error:  # the driver was unloaded meanwhile
        return Answer(note=f"NVML: {error}")
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _read_one(nvml: Any, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    generation, precisions = tensor_cores(major, minor)

    def asked(read: Callable[[], Any]) -> Any:
        try:
            return read()
        except nvml.NVMLError:  # laptop and MIG devices do not support every query
            return None

    def figure(read: Callable[[], float], per: float = 1.0) -> float | None:
        value = asked(read)
        return None if value is None else float(value) / per

    ecc = asked(lambda: nvml.nvmlDeviceGetEccMode(handle))  # the state now, and the state after the next restart
    mig = asked(lambda: nvml.nvmlDeviceGetMigMode(handle))
    return Gpu(
        index=index,
        name=str(nvml.nvmlDeviceGetName(handle)),
        uuid=str(nvml.nvmlDeviceGetUUID(handle)),
        memory_total_mb=memory.total / 2**20,
        memory_free_mb=memory.free / 2**20,
        compute_capability=f"{major}.{minor}",
        tensor_core_generation=generation,
        supported_precisions=precisions,
        temperature_c=figure(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
        power_usage_w=figure(lambda: nvml.nvmlDeviceGetPowerUsage(handle), 1000),
        utilization_gpu=figure(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
        ecc=None if ecc is None else bool(ecc[0]),
        mig=None if mig is None else bool(mig[0]),
        clock_sm_mhz=figure(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
        clock_sm_max_mhz=figure(lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM)),
        clock_memory_mhz=figure(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM)),
        clock_memory_max_mhz=figure(lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_MEM)),
        power_limit_w=figure(lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle), 1000),
        power_limit_default_w=figure(lambda: nvml.nvmlDeviceGetPowerManagementDefaultLimit(handle), 1000),
        temperature_limit_c=figure(lambda: nvml.nvmlDeviceGetTemperatureThreshold(handle, nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN)),
    )
