"""Git LFS pointers: the small text files that stand for large ones in a Git repository until `git lfs pull` fetches those."""

from __future__ import annotations

MAX_POINTER_BYTES = 1024  # the specification allows no larger one
_START = b"version https://git-lfs.github.com/spec/"
_OLD_START = b"version https://hawser.github.com/spec/"

WHAT_TO_DO = "is a Git LFS pointer, not the file it stands for: run `git lfs pull` in its repository, and use the file which that fetches"


def is_pointer(content: bytes) -> bool:
    """Returns whether a whole file, or its first `MAX_POINTER_BYTES` + 1 bytes, is a Git LFS pointer."""
    return len(content) <= MAX_POINTER_BYTES and content.startswith((_START, _OLD_START)) and b"\noid sha256:" in content
