"""Defines what is known of one NVIDIA GPU, whoever says it: NVML, torch or nvidia-smi.

The tensor core generations and precisions follow NVIDIA's CUDA C++ programming guide, by compute capability.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

# The newest come first. Each entry has the first compute capability, the tensor core generation, and the precisions of its matrix units.
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
    """Describes one GPU. A value that the driver does not give is None, and a text that it does not give is empty.

    Attributes:
        memory_total_mb: In MB of 2^20 bytes, as `memory_free_mb`.
        ecc: Whether its memory corrects errors, which costs some bandwidth on some GPUs.
        mig: Whether it may be divided into instances, so that a job may have only a part of it.
        clock_sm_mhz: The current clock of its multiprocessors. `clock_sm_max_mhz` is the highest one that it may have.
        power_limit_w: The power that it may take now. `power_limit_default_w` is the limit that its maker has set.
        temperature_limit_c: The temperature at which it slows down.
    """

    index: int
    name: str
    uuid: str
    memory_total_mb: float
    memory_free_mb: float | None
    compute_capability: str
    tensor_core_generation: int | None
    supported_precisions: tuple[str, ...]
    temperature_c: float | None
    power_usage_w: float | None
    utilization_gpu: float | None  # percent
    ecc: bool | None = None
    mig: bool | None = None
    clock_sm_mhz: float | None = None
    clock_sm_max_mhz: float | None = None
    clock_memory_mhz: float | None = None
    clock_memory_max_mhz: float | None = None
    power_limit_w: float | None = None
    power_limit_default_w: float | None = None
    temperature_limit_c: float | None = None

    def filled_from(self, other: Gpu) -> Gpu:
        """Return this GPU with the other one's values where this one has none."""
        empty = {field.name for field in fields(self) if getattr(self, field.name) in (None, "", ())}
        return replace(self, **{name: getattr(other, name) for name in empty})


@dataclass(frozen=True)
class Answer:
    """Holds what one source says about the GPUs of this machine.

    Attributes:
        note: Why it knows no devices.
        errors: One sentence for each device that it could not read.
    """

    devices: tuple[Gpu, ...] = ()
    driver: str = ""
    note: str = ""
    errors: tuple[str, ...] = ()

    def in_words(self) -> str:
        found = f"{len(self.devices)} found" if self.devices else self.note or "none found"
        return "; ".join([found, *self.errors])


def tensor_cores(major: int, minor: int) -> tuple[int | None, tuple[str, ...]]:
    """Return the generation of the tensor cores and their precisions. None and nothing for a GPU without them."""
    for first, generation, precisions in TENSOR_CORES:
        if (major, minor) >= first:
            return generation, precisions
    return None, ()
