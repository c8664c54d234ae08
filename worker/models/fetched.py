"""A model that is on this disk, ready for a runtime to open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shared.content import Content, content_hash
from shared.workloads import ModelRef
from worker.models.local import Stamp


@dataclass(frozen=True)
class FetchedModel:
    """A model on this disk.

    Attributes:
        sha256: of the model with its weights beside it, as `shared.content` defines it; of a model that is one file, that file's.
        size: bytes of these files.
        stamps: of the files that are the device owner's and lie where they are used, as they were when they were hashed.
    """

    path: Path
    sha256: str
    size: int
    name: str
    stamps: tuple[tuple[Path, Stamp], ...] = ()


def fetched_model(
    ref: ModelRef, path: Path, model: Content, weights: Mapping[str, Content], stamps: tuple[tuple[Path, Stamp], ...] = ()
) -> FetchedModel:
    """Returns the model whose file is at `path`, with what it is known by.

    Args:
        weights: the files beside it that it names, by name.
    """
    size = model.size + sum(content.size for content in weights.values())
    return FetchedModel(path, content_hash(model, weights), size, ref.name, stamps)
