"""Stores files by their content hash. All worker processes of the device share this cache.

    blobs/<sha256>            complete, verified files; never written to again
    sets/<sha256>/…           a model with its companions under their own names: hard links to blobs
    urls/<sha256 of URL>.json the last content of a URL, and the validators for the next request
    partial/<sha256 of key>   a download that is running or was interrupted
    locks/<key>               a lock file for each key

A file gets its final name by an atomic rename after fsync, so a file with its final name is complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from shared.clock import Clock
from worker.durable import move_durably, write_durably
from worker.models.cache_contents import SETS, Contents

log = logging.getLogger(__name__)

BLOCK = 1 << 20
EVICTED = ("blobs", SETS)
PARTIAL = "partial"
NOTES = ".json"  # the file beside a partial download that holds its validators
UNFINISHED = "tmp"  # the prefix of a set's name until the set is complete
ABANDONED_S = 7 * 86_400.0  # an interrupted download that nobody has continued for so long is removed
LOCK_LOOK_S = 0.1  # how often to try a lock that is taken. A blocking call could not be cancelled.
KEEP_S = 3_600.0  # a file used within the last hour is not evicted: another worker may be about to use it


def key_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def hash_file(path: Path, tick: Callable[[int], None]) -> str:
    """Return the SHA-256 of a file. `tick` is called with the number of bytes done so far."""
    digest = hashlib.sha256()
    done = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            done += len(block)
            tick(done)
    return digest.hexdigest()


class Cache:
    def __init__(self, root: Path, clock: Clock) -> None:
        self._root = root
        self._clock = clock

    def _folder(self, name: str) -> Path:
        folder = self._root / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def free_bytes(self) -> int:
        """Return how many bytes the disk of the cache has left."""
        return shutil.disk_usage(self._folder(PARTIAL)).free

    def blob(self, sha256: str) -> Path | None:
        """Return the file with this content and set its time of last use to now. None if it is not in the cache."""
        path = self._folder("blobs") / sha256
        return path if _touch(path) else None

    def adopt(self, file: Path, sha256: str) -> Path:
        """Move a complete, verified file of this cache to its final place among the blobs."""
        target = self._folder("blobs") / sha256
        move_durably(file, target)
        return target

    def partial(self, key: str) -> Path:
        return self._folder(PARTIAL) / key

    def remembered(self, key: str) -> dict[str, Any]:
        """Return what is known about a URL. Empty if nothing is known, or if its file was evicted."""
        try:
            known: dict[str, Any] = json.loads((self._folder("urls") / f"{key}.json").read_text())
        except (OSError, ValueError):  # the file does not exist or is damaged; the URL is downloaded again
            return {}
        return known if self.blob(str(known.get("sha256"))) else {}

    def remember(self, key: str, known: Mapping[str, Any]) -> None:
        write_durably(self._folder("urls") / f"{key}.json", json.dumps(known).encode())

    @contextlib.contextmanager
    def locked(self, key: str, look: Callable[[], None]) -> Iterator[None]:
        """Hold the lock of a key, which one thread of one process can hold at a time.

        `look` is called repeatedly while waiting. It may raise to stop waiting.
        """
        descriptor = self._lock_file(key)
        try:
            while not _try_lock(descriptor):
                look()
                self._clock.sleep(LOCK_LOOK_S)
            yield
        finally:
            os.close(descriptor)

    def _lock_file(self, key: str) -> int:
        return os.open(self._folder("locks") / key, os.O_RDWR | os.O_CREAT, 0o644)

    def assemble(self, name: str, files: Mapping[str, str]) -> Path:
        """Create a folder that contains blobs under their relative names. Returns the path of the file `name` in it.

        Args:
            files: Maps each relative name to the SHA-256 of a blob in this cache.
        """
        identity = key_of(json.dumps([name, sorted(files.items())]))
        folder = self._folder(SETS) / identity
        if not _touch(folder):
            temporary = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self._folder(SETS)))
            try:
                for relative, sha256 in files.items():
                    target = temporary / relative
                    target.parent.mkdir(parents=True, exist_ok=True)
                    _link(self._folder("blobs") / sha256, target)
                temporary.rename(folder)
            except OSError:  # another process has assembled the same folder; its name determines its content
                shutil.rmtree(temporary)
                if not folder.is_dir():
                    raise
        return folder / name

    @contextlib.contextmanager
    def in_use(self, path: Path) -> Iterator[None]:
        """Keep all processes from evicting the blob or the folder that `path` belongs to. A path outside the cache needs no protection.

        Raises:
            FileNotFoundError: It has been evicted already.
        """
        mine = [
            self._folder(name) / path.relative_to(self._folder(name)).parts[0] for name in EVICTED if self._folder(name) in path.parents
        ]
        if not mine or sys.platform == "win32":  # Windows does not remove an open file
            yield
            return
        import fcntl

        descriptor = os.open(mine[0], os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            yield
        finally:
            os.close(descriptor)

    def trim(self, limit_bytes: int, keep: Collection[Path] = ()) -> None:
        """Remove the least recently used files until the rest fits the limit.

        Files that are in use or were used within the last hour stay. A blob stays for as long as a set that contains it.

        Args:
            keep: Files that the caller is about to use.
        """
        now = self._clock.now().timestamp()
        contents = Contents([path for name in EVICTED for path in self._folder(name).iterdir()] + list(self._halves()))
        for used, path in contents.oldest_first():
            if contents.size() <= limit_bytes or now - used < KEEP_S:
                return
            if path not in keep and not contents.in_a_set(path) and self._let_go(path, contents.used[path]):
                contents.remove(path)

    def sweep(self) -> None:
        """Remove what killed processes left a week ago or earlier: interrupted downloads that nobody continued, and incomplete sets."""
        before = self._clock.now().timestamp() - ABANDONED_S
        for path in (*self._halves(), *self._folder(SETS).glob(f"{UNFINISHED}*")):
            with contextlib.suppress(OSError):  # it is gone, or we may not read it
                at = path.stat().st_mtime
                if at <= before:
                    self._let_go(path, at)

    def _halves(self) -> Iterator[Path]:
        """Return the partial downloads, without the files that hold their validators."""
        return (path for path in self._folder(PARTIAL).iterdir() if path.suffix != NOTES)

    def _let_go(self, path: Path, at: float) -> bool:
        return self._abandon(path, at) if path.parent.name == PARTIAL else _evict(path, at)

    def _abandon(self, path: Path, at: float) -> bool:
        """Remove a partial download and its validators. Returns False if a process is continuing it, or if it cannot be removed."""
        try:
            descriptor = self._lock_file(path.stem)
            try:
                if not _try_lock(descriptor) or path.stat().st_mtime != at:
                    return False
                path.unlink()
                path.with_suffix(NOTES).unlink(missing_ok=True)
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            return True
        except OSError as error:
            log.warning("%s is half a download that nobody wants, and cannot be removed: %s", path, error)
            return False
        return True


def _evict(path: Path, at: float) -> bool:
    """Remove a blob or a set. Returns False if a process uses it, or has used it since its last use was read as `at`."""
    try:
        descriptor = None if sys.platform == "win32" else os.open(path, os.O_RDONLY)
        try:
            if (descriptor is not None and not _try_lock(descriptor)) or path.stat().st_mtime != at:
                return False
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
        finally:
            if descriptor is not None:
                os.close(descriptor)
    except FileNotFoundError:  # another process removed it first
        return True
    except PermissionError:  # it is open (on Windows), or belongs to another user
        return False
    return True


def _touch(path: Path) -> bool:
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _link(blob: Path, target: Path) -> None:
    """Create a hard link, or a copy if that fails.

    A symbolic link would not do: the runtime refuses external data behind a symbolic link that leaves the folder.
    """
    try:
        os.link(blob, target)
    except OSError:
        shutil.copyfile(blob, target)


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
