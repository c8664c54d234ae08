"""Files that are there whole or not at all: each is written beside its place and renamed into it."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

log = logging.getLogger(__name__)

PART = ".part"
# A file that is being written changes all the time; one that nobody has touched for so long was left by a process that was killed.
LEFT_BEHIND_S = 3_600.0


@contextmanager
def whole_file(path: Path, parts: Path | None = None, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Open a file that appears under its name when the block ends, or not at all when it raises.

    Args:
        parts: the folder in which it lies until then, of the same disk; the file's own folder if left out.
        durable: whether it is on the disk, and there after a power cut, before the block ends.

    Raises:
        OSError: it cannot be written; what was there before is still there.
    """
    descriptor, name = tempfile.mkstemp(dir=parts or path.parent, prefix=f".{path.name}.", suffix=PART)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    if durable:
        _sync_folder(path.parent)


def move_durably(source: Path, target: Path) -> None:
    """Give a file its name; after a power cut it is there, and whole.

    Raises:
        OSError: the disk does not take it.
    """
    with source.open("rb+") as file:
        os.fsync(file.fileno())
    source.replace(target)
    _sync_folder(target.parent)


def remove_left_behind(written: Path, name: str = "*") -> None:
    """Remove what killed processes left half written beside a file; the halves that others are writing now stay.

    Args:
        written: a file that was written a moment ago: it tells the time by the clock of its disk.
        name: of the file whose halves are meant; all of them if left out.
    """
    before = written.stat().st_mtime - LEFT_BEHIND_S
    for part in written.parent.glob(f".{name}.*{PART}"):
        try:
            if part.stat().st_mtime < before:
                part.unlink()
        except FileNotFoundError:
            continue  # it has just got its name, or somebody else removed it
        except OSError as error:
            log.warning("%s was left by a process that was killed, and cannot be removed: %s", part, error)


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
