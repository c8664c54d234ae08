"""One SHA-256 for a model that consists of several files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

CONTENT_FORMAT = "fleetmark-model 1"
# 1: this line; `<sha256> <size>` of the model file; `<sha256> <size> <name>` of each file beside it, by name. Each line ends with \n.


class Content(NamedTuple):
    """What tells one file from another: its SHA-256, in hexadecimal digits, and its size in bytes."""

    sha256: str
    size: int


def content_hash(model: Content, companions: Mapping[str, Content]) -> str:
    """Returns the SHA-256 that identifies a model with the files beside it.

    A model without companions is one file, and has that file's own SHA-256. Otherwise it is the SHA-256 of the text described at
    `CONTENT_FORMAT`, in UTF-8. What people call the model file is no part of it; the companions' names are, because the model
    file finds its weights by them.

    Args:
        companions: the files beside the model, by their path relative to its folder, written with `/`.
    """
    if not companions:
        return model.sha256
    lines = [CONTENT_FORMAT, f"{model.sha256} {model.size}"]
    named = sorted((beside(name).encode(errors="surrogateescape"), content) for name, content in companions.items())
    lines += [f"{content.sha256} {content.size} {name.decode(errors='surrogateescape')}" for name, content in named]
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode(errors="surrogateescape")).hexdigest()


def beside(name: str) -> str:
    """Returns the one spelling of a relative path: `./weights.bin` and `weights.bin` are the same file."""
    return PurePosixPath(name).as_posix()
