"""Finds out whether CoreML can really be used for a capability on this device. It imports no runtime."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.installation import how_to_install
from worker.hardware.probe import PROBE_MODEL
from worker.hardware.short_process import answer_of

if TYPE_CHECKING:
    from worker.hardware import Hardware

PROVIDER = "CoreMLExecutionProvider"
APPLE_SILICON = "arm64"


def why_not(capability: str, hardware: Hardware) -> str:
    """Return why neither coremltools nor the ONNX Runtime reaches the device of a capability, or an empty text if one of them does."""
    if hardware.system.os != "macOS":
        return f"CoreML needs macOS; this is {hardware.system.os}"
    if capability.startswith("ane.") and hardware.cpu.architecture != APPLE_SILICON:
        return "the Neural Engine needs Apple silicon"
    if any(provider.name == PROVIDER and provider.opens for provider in hardware.onnxruntime.providers):
        return ""
    if find_spec("coremltools") is None:
        return f"neither coremltools nor an onnxruntime with CoreML is installed: {how_to_install('coreml')}"
    found = _probed()
    return str(found["error"] or found["units"][capability])


@cache
def _probed() -> dict[str, Any]:
    """Ask coremltools once for each process of the worker: importing it takes 8 s, and what it finds does not change meanwhile."""
    return answer_of("worker.engines.coreml_probe", what="coremltools", library="coremltools")


def write_trial_model(_capability: str, folder: Path) -> Path | None:
    """Write a model for the ONNX Runtime if it is installed, and a package of CoreML otherwise."""
    if find_spec("onnxruntime") is not None:
        path = folder / "tiny.onnx"
        path.write_bytes(PROBE_MODEL)
        return path
    path = folder / "tiny.mlmodel"
    answer_of("worker.engines.coreml_probe", str(path), what="coremltools", library="coremltools")
    return path if path.exists() else None
