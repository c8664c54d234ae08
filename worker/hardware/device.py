"""Describes the whole device in one value. It is read once at start, and used for registration, for results and for display."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from shared.workers import DeviceInfo
from worker.hardware.cpu import Cpu, read_cpu
from worker.hardware.frameworks import Framework, read_frameworks
from worker.hardware.gpus import Gpus, read_gpus
from worker.hardware.providers import OnnxRuntime, read_onnxruntime
from worker.hardware.system import Memory, System, read_memory, read_system


@dataclass(frozen=True)
class Hardware:
    system: System
    cpu: Cpu
    memory: Memory
    gpus: Gpus
    onnxruntime: OnnxRuntime
    frameworks: tuple[Framework, ...]

    def with_present_load(self) -> Hardware:
        """Return the same device with the current state of memory and GPUs. The slow probes are not repeated."""
        return replace(self, memory=read_memory(), gpus=self.gpus.now())

    def soc(self) -> str:
        return self.cpu.model

    def ram_gb(self) -> float:
        """Return the memory in GB of 2^30 bytes, rounded to two decimals."""
        return round(self.memory.total_mb / 1024, 2)

    def device_info(self, udid: str) -> DeviceInfo:
        return DeviceInfo(
            Soc=self.soc(), Ram=self.ram_gb(), DeviceOs=self.system.os, DeviceOsVersion=self.system.os_version, UDID=udid,
            **({"Gpu": ", ".join(gpu.name for gpu in self.gpus.devices)} if self.gpus.devices else {}),
        )  # fmt: skip

    def for_placement(self, price_per_hour: float | None) -> dict[str, Any]:
        """Return what a job's `requires` is compared with. Memory is in MB of 2^20 bytes; `gpu_memory_mb` is that of the largest GPU."""
        return {
            "memory_mb": round(self.memory.total_mb),
            "gpu_memory_mb": round(max((gpu.memory_total_mb for gpu in self.gpus.devices), default=0)),
            "price_per_hour": price_per_hour,
            "cpu": {"model": self.cpu.model, "cores_physical": self.cpu.cores_physical, "cores_logical": self.cpu.cores_logical},
            "cpu_features": list(self.cpu.features),
            "gpus": [gpu.name for gpu in self.gpus.devices],
            "providers": [provider.name for provider in self.onnxruntime.providers if provider.opens],
            "frameworks": {framework.name: framework.version for framework in self.frameworks},
            "os": self.system.os,
            "architecture": self.cpu.architecture,
        }

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def detect() -> Hardware:
    """Read everything about the device. The execution providers must open a session for it, which takes about a second on a CPU."""
    return Hardware(
        system=read_system(),
        cpu=read_cpu(),
        memory=read_memory(),
        gpus=read_gpus(),
        onnxruntime=read_onnxruntime(),
        frameworks=read_frameworks(),
    )
