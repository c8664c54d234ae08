"""Writes files that are complete or not there."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from shared.errors import InvalidInput

STANDARD_STREAMS = (1, 2)  # descriptors of standard output and standard error


def write_whole(file: Path, pieces: Iterable[bytes]) -> None:
    """Write these pieces to a file. If this fails, an earlier file of that name stays as it was.

    A link is followed. What is no plain file, such as a pipe, a device or `/dev/stdout`, is never replaced: the pieces are written into it.

    Raises:
        InvalidInput: the file cannot be written.
    """
    try:
        if (stream := _stream(file)) is not None:
            with open(stream, "wb", closefd=isinstance(stream, Path)) as into:
                into.writelines(pieces)
        else:
            _replace(file.resolve(), pieces)
    except OSError as error:
        raise InvalidInput(f"{file} cannot be written: {error.strerror}") from error


def _stream(file: Path) -> Path | int | None:
    """Return what to write into if the name stands for no plain file, or for one of this process's own outputs. None for other files."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    for descriptor in STANDARD_STREAMS:
        if _is_open_on(descriptor, found):
            return descriptor  # it may be a file that is appended to, as in `-o /dev/stdout >> all.csv`
    return None if stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode) else file


def _is_open_on(descriptor: int, found: os.stat_result) -> bool:
    try:
        return os.path.samestat(found, os.fstat(descriptor))
    except OSError:  # the descriptor is closed
        return False


def _replace(file: Path, pieces: Iterable[bytes]) -> None:
    unfinished = file.with_name(f".{file.name}.part")
    try:
        with unfinished.open("wb") as part:
            part.writelines(pieces)
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
