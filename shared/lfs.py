"""Recognises Git LFS pointers. These small text files replace large files in a Git repository until `git lfs pull` fetches them."""

from __future__ import annotations

MAX_POINTER_BYTES = 1024  # the limit in the specification of Git LFS
_START = b"version https://git-lfs.github.com/spec/"
_OLD_START = b"version https://hawser.github.com/spec/"

WHAT_TO_DO = "is a Git LFS pointer, not the file it stands for: run `git lfs pull` in its repository, and use the file which that fetches"


def is_pointer(content: bytes) -> bool:
    """Return whether a file is a Git LFS pointer. `content` is the whole file or its first `MAX_POINTER_BYTES` + 1 bytes."""
    return len(content) <= MAX_POINTER_BYTES and content.startswith((_START, _OLD_START)) and b"\noid sha256:" in content
