"""Describes a model that is on this disk, ready to be opened by a runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shared.content import Content, content_hash
from shared.inputs import ModelRef
from worker.models.local import Stamp


@dataclass(frozen=True)
class FetchedModel:
    """Describes a model on this disk.

    Attributes:
        sha256: The hash of the model and the weights beside it, as `shared.content` defines it. For a model of one file it is the
            hash of that file.
        size: The bytes of all these files together.
        stamps: The stamps of files that are used in their own place outside the cache, taken when they were hashed.
        origin: Where exactly the files come from, if the source says it less exactly: a commit instead of a branch.
        warnings: What is doubtful about the model, for the result.
        blobs: The SHA-256 of each of its files in the cache. Empty for files that are used in their own place.
    """

    path: Path
    sha256: str
    size: int
    name: str
    stamps: tuple[tuple[Path, Stamp], ...] = ()
    origin: str = ""
    warnings: tuple[str, ...] = ()
    blobs: tuple[str, ...] = ()


def fetched_model(
    ref: ModelRef, path: Path, model: Content, weights: Mapping[str, Content], stamps: tuple[tuple[Path, Stamp], ...] = ()
) -> FetchedModel:
    """Return the description of the model whose file is at `path`.

    Args:
        weights: The files beside the model that it names, keyed by name.
    """
    size = model.size + sum(content.size for content in weights.values())
    return FetchedModel(path, content_hash(model, weights), size, ref.name, stamps)
