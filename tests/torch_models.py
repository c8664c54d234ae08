"""Writes small models for the engine of PyTorch: real exports where torch is installed, and archives for its double elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests import torch_double

INSTALLED = find_spec("torch") is not None


@contextmanager
def torch_or_its_double() -> Iterator[None]:
    if INSTALLED:
        yield
        return
    with torch_double.installed():
        yield


def linear(path: Path) -> Path:
    """Write a network that takes `x`, [batch, 2], with a free batch."""
    if not INSTALLED:
        return torch_double.save(path, "linear", [("x", "float32", ["s77", 2])], ranges={"s77": (0, None)})
    import torch

    class Network(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 2)

        def forward(self, x: Any) -> Any:
            return self.layer(x)

    return _saved(path, Network(), (torch.rand(2, 2),), {"x": {0: torch.export.Dim("batch")}})


def table(path: Path, rows: int) -> Path:
    """Write a network that looks up `ids`, [batch, 1], in a table."""
    if not INSTALLED:
        return torch_double.save(path, "table", [("ids", "int64", ["s77", 1])], rows=rows, ranges={"s77": (0, None)})
    import torch

    class Network(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Embedding(rows, 4)

        def forward(self, ids: Any) -> Any:
            return self.table(ids)

    return _saved(path, Network(), (torch.zeros(2, 1, dtype=torch.int64),), {"ids": {0: torch.export.Dim("batch")}})


def _saved(path: Path, network: Any, example: tuple[Any, ...], dynamic: Any) -> Path:
    import torch

    torch.export.save(torch.export.export(network.eval(), example, dynamic_shapes=dynamic), str(path))
    return path
