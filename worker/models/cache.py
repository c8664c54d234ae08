"""Files by their content, shared by every process of the device.

    blobs/<sha256>            whole, verified files; never written to again
    sets/<sha256>/…           a model with its companions under their own names: hard links to blobs
    urls/<sha256 of URL>.json what a URL gave last, and the validators to ask again with
    partial/<sha256 of key>   a download that is under way or was interrupted
    locks/<key>               one taker at a time

A file gets its final name by an atomic rename after fsync, so what has a name is whole.
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

log = logging.getLogger(__name__)

BLOCK = 1 << 20
EVICTED = ("blobs", "sets")
PARTIAL = "partial"
NOTES = ".json"  # beside a partial download: what tells its file from another
UNFINISHED = "tmp"  # as a set is called until it is whole
ABANDONED_S = 7 * 86_400.0  # an interrupted download that nobody has gone on with for so long is nobody's
LOCK_LOOK_S = 0.1  # how often one waits for another's download to end: a lock that cannot be called off would not hear a cancel
KEEP_S = 3_600.0  # what was fetched within an hour may be about to be used by another worker, and is not evicted


def key_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def hash_file(path: Path, tick: Callable[[int], None]) -> str:
    """SHA-256 of a file; `tick` is told the bytes done so far."""
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

    def blob(self, sha256: str) -> Path | None:
        """The file of this content, marked as used now; None when it is not here."""
        path = self._folder("blobs") / sha256
        return path if _touch(path) else None

    def adopt(self, file: Path, sha256: str) -> Path:
        """Move a finished, verified file of this cache to its content's name."""
        target = self._folder("blobs") / sha256
        move_durably(file, target)
        return target

    def partial(self, key: str) -> Path:
        return self._folder(PARTIAL) / key

    def remembered(self, key: str) -> dict[str, Any]:
        """What is known of a URL; empty when nothing is, or when its file was evicted."""
        try:
            known: dict[str, Any] = json.loads((self._folder("urls") / f"{key}.json").read_text())
        except (OSError, ValueError):  # never written, or a disk that lost it: downloaded again either way
            return {}
        return known if self.blob(str(known.get("sha256"))) else {}

    def remember(self, key: str, known: Mapping[str, Any]) -> None:
        write_durably(self._folder("urls") / f"{key}.json", json.dumps(known).encode())

    @contextlib.contextmanager
    def locked(self, key: str, look: Callable[[], None]) -> Iterator[None]:
        """One process and thread at a time for a key. `look` is called while waiting and may raise to give up."""
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
        """A folder that holds blobs under their relative names; `name` is the file in it whose path is returned.

        Args:
            files: relative name -> sha256 of a blob that is here.
        """
        identity = key_of(json.dumps([name, sorted(files.items())]))
        folder = self._folder("sets") / identity
        if not _touch(folder):
            temporary = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self._folder("sets")))
            try:
                for relative, sha256 in files.items():
                    target = temporary / relative
                    target.parent.mkdir(parents=True, exist_ok=True)
                    _link(self._folder("blobs") / sha256, target)
                temporary.rename(folder)
            except OSError:  # another process assembled the same; a folder's content follows from its name
                shutil.rmtree(temporary)
                if not folder.is_dir():
                    raise
        return folder / name

    @contextlib.contextmanager
    def in_use(self, path: Path) -> Iterator[None]:
        """While this lasts, no process evicts the blob or the folder that `path` belongs to. Other paths are nobody's to evict.

        Raises:
            FileNotFoundError: it is gone already.
        """
        mine = [
            self._folder(name) / path.relative_to(self._folder(name)).parts[0] for name in EVICTED if self._folder(name) in path.parents
        ]
        if not mine or sys.platform == "win32":  # which removes no file that is open
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
        """Remove what was used longest ago until the rest fits the limit. Never what is in use, or was fetched within the hour.

        Args:
            keep: what the caller is about to use.
        """
        now = self._clock.now().timestamp()
        used: list[tuple[float, Path, int]] = []
        whole = (path for name in EVICTED for path in self._folder(name).iterdir())
        for path in (*whole, *self._halves()):
            with contextlib.suppress(FileNotFoundError):
                stat = path.stat()
                used.append((stat.st_mtime, path, 0 if path.is_dir() else stat.st_size))
        total = sum(size for _, _, size in used)
        for at, path, size in sorted(used):
            if total <= limit_bytes or now - at < KEEP_S:
                return
            if path not in keep and self._let_go(path, at):
                total -= size

    def sweep(self) -> None:
        """Remove what a process that was killed has left, a week after: interrupted downloads that nobody went on with, half a set."""
        before = self._clock.now().timestamp() - ABANDONED_S
        for path in (*self._halves(), *self._folder("sets").glob(f"{UNFINISHED}*")):
            with contextlib.suppress(OSError):  # gone, or not ours to look at
                at = path.stat().st_mtime
                if at <= before:
                    self._let_go(path, at)

    def _halves(self) -> Iterator[Path]:
        """Partial downloads, without the notes that go with them."""
        return (path for path in self._folder(PARTIAL).iterdir() if path.suffix != NOTES)

    def _let_go(self, path: Path, at: float) -> bool:
        return self._abandon(path, at) if path.parent.name == PARTIAL else _evict(path, at)

    def _abandon(self, path: Path, at: float) -> bool:
        """Remove a partial download and its notes; false when somebody goes on with it, or it cannot be removed."""
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
    """Remove what nobody uses; false when somebody does, or has since it was seen to be used last at `at`."""
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
    except FileNotFoundError:  # another process was faster
        return True
    except PermissionError:  # open, on Windows; somebody else's
        return False
    return True


def _touch(path: Path) -> bool:
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _link(blob: Path, target: Path) -> None:
    """A hard link: the runtime refuses external data behind a symbolic link that leaves the folder. Else a copy."""
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
