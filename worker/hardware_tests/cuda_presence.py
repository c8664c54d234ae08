"""Finds out whether a CUDA device is really there, for the tests of `hardware.cuda`. Installed libraries alone do not prove it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.hardware import Hardware


def why_not(capability: str, hardware: Hardware) -> str:
    """Return why there is no CUDA device, or an empty text if there is one."""
    from worker.engines.torch_presence import why_not as why_not_torch  # imported here: a measured process does not need it

    del capability
    return why_not_torch("gpu.cuda.torch", hardware) if hardware.gpus.devices else hardware.gpus.note or "no CUDA device"
