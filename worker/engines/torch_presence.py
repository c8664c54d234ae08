"""Finds out whether PyTorch can really be used for a capability on this device. torch is imported by a short-lived process only."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.installation import how_to_install
from worker.hardware.short_process import answer_of

if TYPE_CHECKING:
    from worker.hardware import Hardware

DEVICES = {"cpu.torch": "cpu", "gpu.cuda.torch": "cuda", "gpu.mps.torch": "mps"}


def why_not(capability: str, _hardware: Hardware) -> str:
    """Return why torch does not compute on the device of a capability, or an empty text if it does."""
    if find_spec("torch") is None:
        return f"torch is not installed: {how_to_install('torch')}"
    found = _probed()
    return str(found["error"] or found["devices"][DEVICES[capability]])


@cache
def _probed() -> dict[str, Any]:
    """Ask torch once for each process of the worker: importing it takes seconds, and what it finds does not change meanwhile."""
    return answer_of("worker.engines.torch_probe", what="torch", library="torch")


def write_trial_model(_capability: str, folder: Path) -> Path | None:
    path = folder / "tiny.pt2"
    answer_of("worker.engines.torch_probe", str(path), what="torch", library="torch")
    return path if path.exists() else None
