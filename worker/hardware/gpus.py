"""Finds the NVIDIA GPUs of this machine: NVML is asked first, then torch, then nvidia-smi. What each of them said is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from worker.hardware.gpu import Answer, Gpu, tensor_cores
from worker.hardware.nvidia_smi import ask_nvidia_smi
from worker.hardware.nvml import ask_nvml
from worker.hardware.torch_gpus import ask_torch

__all__ = ["Answer", "Gpu", "Gpus", "read_gpus", "tensor_cores"]

Ask = Callable[[], Answer]
# They are asked in this order. torch starts a process and creates a CUDA context there, so it is asked only if NVML knows no GPU.
SOURCES: dict[str, Ask] = {"NVML": ask_nvml, "torch": ask_torch, "nvidia-smi": ask_nvidia_smi}
WHILE_RUNNING = ("NVML", "nvidia-smi")  # a running measurement does not notice these


@dataclass(frozen=True)
class Gpus:
    """Holds the GPUs, with the version of the driver.

    Attributes:
        note: Why no devices were found.
        errors: One sentence for each device that could not be read.
        said: What each source said, in the order in which they were asked.
    """

    devices: tuple[Gpu, ...] = ()
    driver: str = ""
    note: str = ""
    errors: tuple[str, ...] = ()
    said: Mapping[str, str] = field(default_factory=dict)

    def now(self, sources: Mapping[str, Ask] | None = None) -> Gpus:
        """Return the same devices in their current state. A device that nobody can read at the moment stays as it was."""
        asked = {name: ask for name, ask in (sources or SOURCES).items() if name in WHILE_RUNNING}
        found = read_gpus(asked) if self.devices else self
        return found if len(found.devices) >= len(self.devices) else self


def read_gpus(sources: Mapping[str, Ask] | None = None) -> Gpus:
    """Return every NVIDIA GPU in its current state, as the first source with devices describes it.

    Values that it does not know come from nvidia-smi, matched by the device's id. Without devices, `note` says why.
    """
    said: dict[str, str] = {}
    chosen: Answer | None = None
    errors: list[str] = []
    for name, ask in (sources or SOURCES).items():
        if chosen is not None and (name != "nvidia-smi" or _is_complete(chosen)):
            said[name] = "not asked, because the devices are known"
            continue
        answer = ask()
        said[name] = answer.in_words()
        errors += answer.errors
        if chosen is not None:
            chosen = _filled(chosen, answer)
        elif answer.devices:
            chosen = answer
    if chosen is None:
        return Gpus(note="; ".join(said.values()), errors=tuple(errors), said=said)
    return Gpus(chosen.devices, chosen.driver, errors=tuple(errors), said=said)


def _is_complete(answer: Answer) -> bool:
    """Return whether the state of the devices is known. torch does not know it."""
    return all(gpu.clock_sm_mhz is not None or gpu.temperature_c is not None for gpu in answer.devices)


def _filled(answer: Answer, other: Answer) -> Answer:
    by_id = {gpu.uuid: gpu for gpu in other.devices if gpu.uuid}
    devices = tuple(gpu.filled_from(by_id[gpu.uuid]) if gpu.uuid in by_id else gpu for gpu in answer.devices)
    return Answer(devices, answer.driver or other.driver, answer.note, answer.errors)
