"""Finds out whether vLLM can really be used for a capability on this device. vLLM is imported by a short-lived process only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.generators.probes import answer_once

if TYPE_CHECKING:
    from worker.hardware import Hardware

# What vLLM calls the device of a capability. ROCm is `cuda` for it, as for torch.
DEVICES = {"cpu.vllm": "cpu", "gpu.cuda.vllm": "cuda"}


def why_not(capability: str, _hardware: Hardware) -> str:
    """Return why vLLM does not compute on the device of a capability, or an empty text if it does. It must be installed."""
    return said_of(answer_once("worker.generators.vllm_probe", what="vllm", library="vllm"), capability)


def said_of(found: dict[str, Any], capability: str) -> str:
    """Return what the answer of `vllm_probe` means for a capability."""
    if found["error"]:
        return str(found["error"])
    if found["device"] != DEVICES[capability]:
        return wrong_build(str(found["versions"]["vllm"]), str(found["device"]), capability)
    return str(found["why_not"])


def wrong_build(version: str, device: str, capability: str) -> str:
    """Return what to say where vLLM was built for another device than that of the capability."""
    mend = {"cpu.vllm": "install its build for the CPU", "gpu.cuda.vllm": "install its build for CUDA, and check the driver (`nvidia-smi`)"}
    return f"vLLM {version} computes on {device or 'no device'} here, and {capability} needs {DEVICES[capability]}: {mend[capability]}"
