"""Samples NVIDIA's GPUs through NVML. No CUDA context is created, so no memory of a GPU is used.

GPUs are told apart by their UUID, because NVML and CUDA number them differently: CUDA puts the fastest first, unless CUDA_DEVICE_ORDER says
otherwise. Which GPU a job uses is known in advance if there is only one, or if CUDA_VISIBLE_DEVICES names it by UUID (or by number, with
CUDA_DEVICE_ORDER=PCI_BUS_ID). Otherwise the processes on each GPU tell.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.columns import Column, Role
from worker.samplers.base import Lack, Place, Values, Vanished

MB = 2**20
MAX_GPUS = 16
OF_INSTANCE = "energy_of_instance_j"  # the column of a divided GPU that says why its instances have no energy; it is always null
FAILS_AFTER = 10  # readings of one value in a row that have failed: then the reason is told
DIVIDED = (
    "the GPU is divided into instances (MIG), and NVML shows the energy of all of them together, with that of other programs; "
    "measure on a GPU that is not divided"
)
WHO_EVERY = 10  # the number of samples between two looks at the processes of a GPU, which cost as much as everything else
# Files of which Linux has one if the driver is loaded; the last is Windows' driver inside WSL.
DRIVER_FILES = ("dev/nvidiactl", "dev/nvidia0", "dev/nvhost-gpu", "dev/dxg")


def lack(place: Place) -> Lack | None:
    if (without := _without_driver(place)) is not None:
        return without
    import pynvml  # its ten thousand lines are read only where there is a driver

    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
        pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        return Lack(f"NVML does not work: {error}")
    return None if count else Lack("NVML knows no GPU")


def _without_driver(place: Place) -> Lack | None:
    """Return why there can be no driver. It is known at once, where loading NVML would take some milliseconds to say the same."""
    if sys.platform == "darwin":
        return Lack("macOS has no NVIDIA driver")
    if sys.platform == "linux" and not any((place.root / name).exists() for name in DRIVER_FILES):
        return Lack("no NVIDIA driver is loaded")
    return None


@dataclass
class _Query:
    name: str
    unit: str
    ask: Callable[[], float]
    role: Role = "value"


@dataclass
class _Gpu:
    prefix: str
    uuid: str
    handle: Any
    queries: list[_Query] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)  # the queries that this GPU does not support
    failing: dict[str, tuple[int, str]] = field(default_factory=dict)  # how often in a row a query has failed, and why
    lost: str = ""
    divided: bool = False
    users: float | None = None


class Nvml:
    """Samples use, memory, power, temperature, clocks, reasons for throttling, and the energy counter of each GPU."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._nvml: Any = None
        self._gpus: list[_Gpu] = []
        self._looks = 0

    def open(self) -> Sequence[Column]:
        if (without := _without_driver(self._place)) is not None:
            raise Vanished(str(without))
        import pynvml  # its ten thousand lines are read only where there is a driver

        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
            for index in range(min(pynvml.nvmlDeviceGetCount(), MAX_GPUS)):
                self._gpus.append(self._found(index))
        except pynvml.NVMLError as error:
            raise Vanished(f"NVML does not work: {error}") from error
        if not self._gpus:
            raise Vanished("NVML knows no GPU")
        if all(gpu.lost for gpu in self._gpus):
            raise Vanished(self._gpus[0].lost)
        chosen = chosen_gpus([gpu.uuid for gpu in self._gpus], self._place.cuda_visible, self._place.cuda_order)
        columns = []
        for gpu in self._gpus:
            for query in gpu.queries:
                try:
                    if not gpu.lost:
                        query.ask()
                except (pynvml.NVMLError, AttributeError) as error:  # a library that is older or newer may not have a function
                    gpu.refused[query.name] = f"the driver does not show it for this GPU: {error}"
                columns.append(
                    Column(
                        name=f"{gpu.prefix}_{query.name}",
                        unit=query.unit,
                        source="nvml",
                        device=gpu.uuid,
                        role=query.role,
                        feeds="gpu",
                        chosen=None if chosen is None else gpu.uuid in chosen,
                        missing=gpu.refused.get(query.name) or gpu.lost,
                    )
                )
        return columns

    def _found(self, index: int) -> _Gpu:
        """Return one GPU. One that has fallen off the bus is among them, with the reason, so that the others can be read."""
        nvml = self._nvml
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            gpu = _Gpu(f"gpu{index}", str(nvml.nvmlDeviceGetUUID(handle)), handle)
        except nvml.NVMLError as error:
            if getattr(error, "value", None) == nvml.NVML_ERROR_UNINITIALIZED:
                raise
            gpu = _Gpu(f"gpu{index}", f"GPU {index}", None, lost=f"NVML cannot open this GPU: {error}")
        with contextlib.suppress(nvml.NVMLError, AttributeError):  # a GPU that cannot be divided does not support the question
            gpu.divided = not gpu.lost and bool(nvml.nvmlDeviceGetMigMode(gpu.handle)[0])
        gpu.queries = self._queries(gpu)
        if gpu.divided:
            gpu.refused[OF_INSTANCE] = DIVIDED
        return gpu

    def read(self) -> Values:
        self._looks += 1
        values: list[float | None] = []
        for gpu in self._gpus:
            values += [self._value(gpu, query) for query in gpu.queries]
        if self._gpus and all(gpu.lost for gpu in self._gpus):
            raise Vanished(self._gpus[0].lost)
        return values

    def missing(self) -> Mapping[str, str]:
        found = {}
        for gpu in self._gpus:
            for query in gpu.queries:
                failed, last = gpu.failing.get(query.name, (0, ""))
                if why := gpu.refused.get(query.name) or gpu.lost or (last if failed >= FAILS_AFTER else ""):
                    found[f"{gpu.prefix}_{query.name}"] = why
        return found

    def close(self) -> None:
        if self._nvml is not None:
            with contextlib.suppress(self._nvml.NVMLError):
                self._nvml.nvmlShutdown()
            self._nvml = None

    def _value(self, gpu: _Gpu, query: _Query) -> float | None:
        if gpu.lost or query.name in gpu.refused:
            return None
        try:
            value = query.ask()
        except self._nvml.NVMLError as error:
            if getattr(error, "value", None) in self._final():
                gpu.lost = f"NVML was lost while measuring: {error}"
            failed, _ = gpu.failing.get(query.name, (0, ""))
            gpu.failing[query.name] = failed + 1, f"the driver did not answer for this GPU any more: {error}"
            return None  # any other error may be over at the next reading
        gpu.failing.pop(query.name, None)
        return value

    def _final(self) -> set[int]:
        """Return the errors after which a GPU, or the driver, does not come back."""
        names = (
            "GPU_IS_LOST",
            "UNINITIALIZED",
            "DRIVER_NOT_LOADED",
            "LIBRARY_NOT_FOUND",
            "LIB_RM_VERSION_MISMATCH",
            "UNKNOWN",
            "RESET_REQUIRED",
        )
        return {getattr(self._nvml, f"NVML_ERROR_{name}") for name in names if hasattr(self._nvml, f"NVML_ERROR_{name}")}

    def _queries(self, gpu: _Gpu) -> list[_Query]:
        nvml, handle = self._nvml, gpu.handle
        power: Role = "value" if gpu.divided else "power"
        energy: Role = "value" if gpu.divided else "energy"
        return [
            _Query("percent", "percent", lambda: float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu), "use"),
            _Query("memory_mb", "MB", lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used / MB, "memory"),
            _Query("power_w", "W", lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000, power),
            _Query("temperature_c", "°C", lambda: float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)), "temperature"),
            _Query("sm_mhz", "MHz", lambda: float(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM))),
            _Query("memory_mhz", "MHz", lambda: float(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM))),
            _Query("throttle_reasons", "bits", lambda: float(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))),
            _Query("energy_j", "J", lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000, energy),
            *([_Query(OF_INSTANCE, "J", lambda: math.nan, "energy")] if gpu.divided else []),
            _Query("processes_of_job", "count", lambda: self._users(gpu), "ours"),
        ]

    def _users(self, gpu: _Gpu) -> float:
        """Return how many measured processes compute on a GPU. It is asked once in `WHO_EVERY` samples, and keeps its value between."""
        if gpu.users is None or self._looks % WHO_EVERY == 1:
            running = self._nvml.nvmlDeviceGetComputeRunningProcesses(gpu.handle)
            gpu.users = float(sum(_descends(int(process.pid), self._place.guard) for process in running))
        return gpu.users


def chosen_gpus(uuids: Sequence[str], visible: str | None, order: str) -> set[str] | None:
    """Return the UUID of the GPU that CUDA calls device 0, or None if that cannot be known in advance.

    Args:
        uuids: the GPUs in NVML's order, which is the order of their PCI addresses.
        visible: the value of CUDA_VISIBLE_DEVICES; None if it is not set.
        order: the value of CUDA_DEVICE_ORDER.
    """
    if visible is not None:
        first = visible.split(",")[0].strip()
        if first.startswith("GPU-"):  # CUDA accepts the beginning of a UUID, if only one GPU has it
            found = {uuid for uuid in uuids if uuid.startswith(first)}
            return found if len(found) == 1 else set()
        if not first or first == "-1":
            return set()
        if first.isdigit() and len(uuids) > 1:
            if order.upper() != "PCI_BUS_ID":
                return None
            return {uuids[int(first)]} if int(first) < len(uuids) else set()
        if not first.isdigit() and len(uuids) > 1:  # an instance of a divided GPU (MIG-…), whose name does not say which GPU it is part of
            return None
    return set(uuids) if len(uuids) == 1 else {uuids[0]} if uuids and order.upper() == "PCI_BUS_ID" else None


def _descends(pid: int, guard: int) -> bool:
    """Return whether a process is a descendant of the guard. A container may number it differently than the driver does; then it is not."""
    for _ in range(16):
        if pid == guard:
            return True
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return False
        if pid <= 1:
            return False
    return False
