"""Lets torch compute on each of its devices in a short-lived process. It prints one line of JSON.

`python -m worker.engines.torch_probe`: `version`, `error` if torch does not import, and for each device why it does not answer (empty if it
does). With a path, it also exports a tiny network to it.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def probe() -> dict[str, Any]:
    try:
        import torch
    except Exception as error:  # noqa: BLE001 - a library that does not load raises what it likes, and that is the answer
        return {"error": f"torch does not import: {_first_line(error)}", "devices": {}}
    devices = {name: _why_not(torch, name) for name in ("cpu", "cuda", "mps")}
    return {"version": torch.__version__, "error": "", "devices": devices}


def _why_not(torch: Any, device: str) -> str:
    """Return why a product of two matrices cannot be computed on a device, or an empty text if it can."""
    if device == "cuda" and not torch.cuda.is_available():
        return f"torch {torch.__version__} finds no CUDA device"
    if device == "mps" and not torch.backends.mps.is_available():
        return f"torch {torch.__version__} finds no MPS device"
    try:
        two = torch.full((2, 2), 2.0, device=device)
        answer = float((two @ two)[0, 0].item())
    except Exception as error:  # noqa: BLE001 - any error of the runtime is the answer of this process
        return f"torch {torch.__version__} cannot compute on {device}: {_first_line(error)}"
    return "" if answer == 8.0 else f"torch computed {answer} on {device} where 8 is right"


def export(path: str) -> None:
    """Export a network of one layer, 2 × 2, with a free batch."""
    import torch

    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU()).eval()
    batch = torch.export.Dim("batch")
    program = torch.export.export(network, (torch.zeros(2, 2),), dynamic_shapes=({0: batch},))
    torch.export.save(program, path)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def main(arguments: list[str]) -> None:
    if arguments:
        export(arguments[0])
    sys.stdout.write(json.dumps(probe()) + "\n")
