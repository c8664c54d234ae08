"""Exports small networks when a test needs them, as users export theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

BATCH = torch.export.Dim("batch")


class Mlp(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))

    def forward(self, x: Any) -> Any:
        return self.layers(x)


class Convnet(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.Dropout(0.5))
        self.head = torch.nn.Linear(8, 4)

    def forward(self, image: Any) -> Any:
        return self.head(self.layers(image).mean((2, 3)))


class Words(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(7, 4)

    def forward(self, ids: Any, mask: Any) -> Any:
        return (self.table(ids.to(torch.int64)) * mask.unsqueeze(-1)).sum(1)


class Two(torch.nn.Module):  # type: ignore[misc]
    def forward(self, left: Any, right: Any, scale: float = 2.0) -> Any:
        return left @ right * scale


class Typed(torch.nn.Module):  # type: ignore[misc]
    """Has a type written into its graph, which `options.dtype` cannot change."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(8, 4)

    def forward(self, x: Any) -> Any:
        return self.layer(x.to(torch.float32))


def mlp(folder: Path) -> Path:
    return exported(folder / "mlp.pt2", Mlp(), (torch.rand(1, 8),))


def convnet(folder: Path, *, training: bool = False) -> Path:
    return exported(folder / "convnet.pt2", Convnet(), (torch.rand(2, 3, 16, 16),), {"image": {0: BATCH}}, training=training)


def words(folder: Path) -> Path:
    length = torch.export.Dim("length", min=2, max=64)
    both = {0: BATCH, 1: length}
    example = (torch.randint(0, 7, (2, 5)), torch.ones(2, 5))
    return exported(folder / "words.pt2", Words(), example, {"ids": both, "mask": both})


def two(folder: Path) -> Path:
    return exported(folder / "two.pt2", Two(), (torch.rand(3, 4), torch.rand(4, 5)))


def typed(folder: Path) -> Path:
    return exported(folder / "typed.pt2", Typed(), (torch.rand(1, 8),))


def divisible(folder: Path) -> Path:
    """Export a network that takes batches of four images only."""

    class Fours(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return x.reshape(-1, 4, x.shape[1]).sum(1)

    fours = torch.export.Dim("fours", min=1, max=100)
    return exported(folder / "fours.pt2", Fours(), (torch.rand(8, 3),), {"x": {0: 4 * fours}})


def exported(path: Path, network: Any, example: tuple[Any, ...], dynamic: Any = None, *, training: bool = False) -> Path:
    network = network.train() if training else network.eval()
    torch.export.save(torch.export.export(network, example, dynamic_shapes=dynamic), str(path))
    return path


def traced(folder: Path) -> Path:
    path = folder / "traced.pt"
    torch.jit.trace(Convnet().eval(), torch.rand(2, 3, 16, 16)).save(str(path))
    return path


def scripted(folder: Path) -> Path:
    """Script a network of two inputs, one of which indexes a table, and a number with a default value."""

    class Scripted(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Embedding(7, 4)

        def forward(self, ids: torch.Tensor, weights: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
            return (self.table(ids) * weights.unsqueeze(-1)).sum(1) * scale

    path = folder / "scripted.pt"
    torch.jit.script(Scripted().eval()).save(str(path))
    return path


def pickled(folder: Path) -> Path:
    path = folder / "pickled.pt"
    torch.save(Mlp(), path)
    return path
