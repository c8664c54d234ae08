"""Writes files atomically: a file is written under another name and renamed, so readers see all of it or nothing.

Its writer holds a lock on the partial file. The kernel releases the lock when the process ends, however it ends. So another process can
tell a partial file that is being written from one whose writer was killed.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

if sys.platform != "win32":
    import fcntl

log = logging.getLogger(__name__)

PART = ".part"
# Where locks do not work, a partial file that has not changed for this long was left behind by a process that was killed.
LEFT_BEHIND_S = 3_600.0


@contextmanager
def whole_file(path: Path, parts: Path | None = None, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Open a file that gets its name when the block ends. If the block raises, the file is removed instead.

    Args:
        parts: the folder for the partial file, on the same disk; by default the folder of `path`.
        durable: whether to sync the file to disk, so that it survives a power cut once the block has ended.

    Raises:
        OSError: the file cannot be written. An earlier file under this name stays.
    """
    descriptor, name = _open_part(parts or path.parent, f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
            if sys.platform != "win32":  # this happens before the lock ends with the descriptor
                _rename(name, path)
        if sys.platform == "win32":  # Windows cannot rename an open file
            _rename(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    if durable:
        _sync_folder(path.parent)


def _rename(part: str, path: Path) -> None:
    Path(part).chmod(0o644)
    Path(part).replace(path)


def move_durably(source: Path, target: Path) -> None:
    """Rename a file so that it survives a power cut completely.

    Raises:
        OSError: the file cannot be written to disk or renamed.
    """
    with source.open("rb+") as file:
        os.fsync(file.fileno())
    source.replace(target)
    _sync_folder(target.parent)


def remove_left_behind(written: Path, name: str = "*") -> None:
    """Remove partial files of killed processes from the folder of a file. Partial files that are being written stay.

    Args:
        written: a file that was just written. Its modification time is the present time by the clock of its disk.
        name: the name of the file whose partial files are removed; by default those of all files.
    """
    before = written.stat().st_mtime - LEFT_BEHIND_S
    for part in written.parent.glob(f".{name}.*{PART}"):
        try:
            descriptor = os.open(part, os.O_RDWR)
            try:
                if _lock(descriptor) or os.fstat(descriptor).st_mtime < before:
                    part.unlink()
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            continue  # it was just renamed, or another process removed it
        except OSError as error:
            log.warning("%s was left by a process that was killed, and cannot be removed: %s", part, error)


def _open_part(folder: Path, prefix: str) -> tuple[int, str]:
    """Make a partial file and lock it. Returns its descriptor and its name."""
    while True:
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=prefix, suffix=PART)
        _lock(descriptor)
        if sys.platform == "win32" or os.fstat(descriptor).st_nlink:
            return descriptor, name
        os.close(descriptor)  # another process took the file for one left behind, before it was locked


def _lock(descriptor: int) -> bool:
    """Lock a partial file. Returns False if another process holds the lock, or where files cannot be locked."""
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # BlockingIOError: it is being written; others: this file system has no locks
        return False
    return True


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # other systems cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
