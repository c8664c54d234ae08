"""Finds out whether ONNX Runtime can really be used for a capability on this device. It imports no runtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from worker.engines.onnx_providers import ALTERNATIVES, PROVIDERS
from worker.hardware.probe import PROBE_MODEL

if TYPE_CHECKING:
    from worker.hardware import Hardware


def why_not(capability: str, hardware: Hardware) -> str:
    """Return why no execution provider of a capability opens a session here, or an empty text if one does."""
    runtime = hardware.onnxruntime
    listed = {provider.name: provider for provider in runtime.providers}
    default = PROVIDERS[capability]
    names = [default, *sorted(ALTERNATIVES[capability] - {default})]
    if any(name in listed and listed[name].opens for name in names):
        return ""
    seen = next((listed[name].why for name in names if name in listed), "")
    return seen or runtime.note or f"{default} is not part of the installed onnxruntime"


def write_trial_model(_capability: str, folder: Path) -> Path:
    path = folder / "tiny.onnx"
    path.write_bytes(PROBE_MODEL)
    return path
