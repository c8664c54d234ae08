"""Writes files so that each is whole or not there, whenever the power fails."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

UNFINISHED = ".*.part"  # matches what a writer that was killed has left


def write_durably(path: Path, content: bytes) -> None:
    """Write a file whole: into a temporary file beside it, which is then synced and renamed.

    Raises:
        OSError: it could not be written (a full disk, a folder without the right); nothing is left behind.
    """
    temporary = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}.part")  # another thread or process may write the same file
    try:
        with temporary.open("wb") as file:
            file.write(content)
        move_durably(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def move_durably(file: Path, target: Path) -> None:
    """Sync a file that is written, give it its final name in the same file system, and sync the folder.

    Raises:
        OSError: it could not be synced or renamed.
    """
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())
    file.replace(target)
    if os.name == "posix":  # elsewhere a folder cannot be opened
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
