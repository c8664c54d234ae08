"""Writes files so that each is either complete or missing, even if the power fails."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

UNFINISHED = ".*.part"  # matches the temporary files that a killed writer leaves


def write_durably(path: Path, content: bytes) -> None:
    """Write a file completely: to a temporary file beside it, which is then synced and renamed.

    Raises:
        OSError: It could not be written, because the disk is full or the folder is not writable. No temporary file is left behind. If
            only the folder could not be synced, the file has its final name already.
    """
    # the name is unique, because another writer may be writing the same file
    temporary = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content)
        move_durably(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def link_durably(file: Path, target: Path) -> None:
    """Give a file a second name, or copy it if it is in another file system, and sync it.

    Raises:
        OSError: It could not be linked or copied. No temporary file is left behind.
    """
    temporary = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.part")
    try:
        try:
            temporary.hardlink_to(file)
        except OSError:  # another file system, or one without hard links
            shutil.copyfile(file, temporary)
        move_durably(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def move_durably(file: Path, target: Path) -> None:
    """Sync a file, rename it to its final name in the same file system, and sync the folder.

    Raises:
        OSError: It could not be synced or renamed. If only the folder could not be synced, the file has its final name already.
    """
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())
    file.replace(target)
    if os.name == "posix":  # on other systems a folder cannot be opened
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
