"""Reads the NVIDIA GPUs through NVML. No CUDA context is created, so the worker uses no memory of the device.

The tensor core generations and precisions follow NVIDIA's CUDA C++ programming guide, by compute capability.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

# Newest first: the first compute capability, the tensor core generation, and the precisions of its matrix units.
TENSOR_CORES: tuple[tuple[tuple[int, int], int, tuple[str, ...]], ...] = (
    ((10, 0), 5, ("TF32", "BF16", "FP16", "FP8", "FP6", "FP4", "INT8")),
    ((9, 0), 4, ("TF32", "BF16", "FP16", "FP8", "INT8")),
    ((8, 9), 4, ("TF32", "BF16", "FP16", "FP8", "INT8")),
    ((8, 0), 3, ("TF32", "BF16", "FP16", "INT8")),
    ((7, 5), 2, ("FP16", "INT8")),
    ((7, 0), 1, ("FP16",)),
)


@dataclass(frozen=True)
class Gpu:
    """Describes one GPU. A value that the driver does not give is None."""

    index: int
    name: str
    uuid: str
    memory_total_mb: float
    memory_free_mb: float
    compute_capability: str
    tensor_core_generation: int | None
    supported_precisions: tuple[str, ...]
    temperature_c: float | None
    power_usage_w: float | None
    utilization_gpu: float | None  # percent


@dataclass(frozen=True)
class Gpus:
    devices: tuple[Gpu, ...] = ()
    driver: str = ""
    note: str = ""  # why no devices were found
    errors: tuple[str, ...] = field(default=())


def tensor_cores(major: int, minor: int) -> tuple[int | None, tuple[str, ...]]:
    for first, generation, precisions in TENSOR_CORES:
        if (major, minor) >= first:
            return generation, precisions
    return None, ()


def read_gpus() -> Gpus:
    """Return every NVIDIA GPU in its current state. A missing driver, library or device is reported in `note`, not raised."""
    try:
        import pynvml
    except ImportError:
        return Gpus(note="nvidia-ml-py is not installed")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return Gpus(note=f"NVML: {error}")
    try:
        devices: list[Gpu] = []
        errors: list[str] = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            try:
                devices.append(_read_one(pynvml, index))
            except pynvml.NVMLError as error:
                errors.append(f"GPU {index}: {error}")
        return Gpus(devices=tuple(devices), driver=str(pynvml.nvmlSystemGetDriverVersion()), errors=tuple(errors))
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _read_one(nvml: Any, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    generation, precisions = tensor_cores(major, minor)

    def figure(read: Callable[[], float]) -> float | None:
        try:
            return float(read())
        except nvml.NVMLError:  # laptop and MIG devices do not support every query
            return None

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
        power_usage_w=figure(lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000),
        utilization_gpu=figure(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
    )
