"""Computes one SHA-256 for a model that consists of several files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

CONTENT_FORMAT = "fleetmark-model 1"
# Format 1 has these lines, each ended by \n: the text above; `<sha256> <size>` of the model file; then `<sha256> <size> <name>` of each
# companion file, sorted by name.


class Content(NamedTuple):
    """Identifies the content of a file by its SHA-256 (hexadecimal) and its size in bytes."""

    sha256: str
    size: int


def content_hash(model: Content, companions: Mapping[str, Content]) -> str:
    """Return the SHA-256 that identifies a model together with its companion files.

    Without companions it is the SHA-256 of the model file. Otherwise it is the SHA-256 of the text described at `CONTENT_FORMAT`, encoded
    as UTF-8. The name of the model file does not count. The names of the companions count, because the model file refers to its weights
    by these names.

    Args:
        companions: the companion files by their path relative to the model's folder, written with `/`.
    """
    if not companions:
        return model.sha256
    lines = [CONTENT_FORMAT, f"{model.sha256} {model.size}"]
    named = sorted((beside(name).encode(errors="surrogateescape"), content) for name, content in companions.items())
    lines += [f"{content.sha256} {content.size} {name.decode(errors='surrogateescape')}" for name, content in named]
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode(errors="surrogateescape")).hexdigest()


def beside(name: str) -> str:
    """Return a relative path in its normal form: `./weights.bin` becomes `weights.bin`."""
    return PurePosixPath(name).as_posix()
