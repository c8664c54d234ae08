"""Checks a model against the hashes and sizes that its reference promises, and refuses Git LFS pointers, which only stand for a file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from shared.content import Content
from shared.errors import ModelUnavailable
from shared.inputs import ModelRef
from shared.lfs import MAX_POINTER_BYTES, WHAT_TO_DO, is_pointer

_LINKS = "; a link to the file itself has `/resolve/` in it on Hugging Face, and begins with media.githubusercontent.com on GitHub"


def check_promises(ref: ModelRef, model: Content, companions: Mapping[str, Content]) -> None:
    """Check the hashes and sizes of a model and the files beside it.

    Raises:
        ModelUnavailable: The model file, or a file beside it, has another hash or size than the reference promises.
    """
    _check(ref.source, model, ref.sha256, ref.size)
    for promised in ref.companions:
        name = f"{promised.name!r} beside {ref.source}"
        if promised.name not in companions:
            raise ModelUnavailable(f"{name} is promised, and is not there")
        _check(name, companions[promised.name], promised.sha256, promised.size)


def _check(name: str, found: Content, sha256: str | None, size: int | None) -> None:
    if sha256 is not None and found.sha256 != sha256:
        raise ModelUnavailable(f"{name} has the SHA-256 {found.sha256}, not the promised {sha256}: the file has changed")
    if size is not None and found.size != size:
        raise ModelUnavailable(f"{name} has {found.size} bytes, not the promised {size}: the file has changed")


def refuse_pointer(path: Path, name: str) -> None:
    """Check that a file is not a Git LFS pointer.

    Args:
        name: What the user calls the file.

    Raises:
        ModelUnavailable: The file is a Git LFS pointer.
    """
    if path.stat().st_size > MAX_POINTER_BYTES:
        return
    if is_pointer(path.read_bytes()):
        fetched = re.search(r"\b(?:https?|hf)://", name) is not None
        raise ModelUnavailable(f"{name} {WHAT_TO_DO}{_LINKS if fetched else ''}")
