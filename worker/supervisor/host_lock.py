"""The lock of a host: one worker measures, alone; or any number of workers do heavy work of their own, and none measures.

Two files. The `room` is held exclusively to measure, and shared for heavy work such as hashing gigabytes. Whoever waits for the room
stands in its `door`, so that nobody overtakes: neither do downloads that follow each other keep out a measurement, nor do
measurements that follow each other keep out a download.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

Taken = Callable[[OSError | None], None]


@dataclass(frozen=True)
class Holder:
    """Who has the lock, as far as this host tells."""

    pid: int
    name: str
    stopped: bool  # by SIGSTOP: it keeps the lock until somebody continues or ends it
    measures: bool  # or fetches a model

    def __str__(self) -> str:
        return f"process {self.pid} ({self.name}{', stopped' if self.stopped else ''})"


class HostLock:
    """Advisory locks on files that every user of the host may open. The kernel gives them back when the process ends.

    Not reentrant, and for one taker at a time in a process: whoever does heavy work gives the lock back before it measures.
    On Windows only measuring is locked.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._state = threading.Lock()  # of everything below
        self._turn: Taken | None = None  # whoever waits
        self._shared = False  # what it waits for, or the last one waited for
        self._waiting = False  # whether a thread stands in the queue
        self._held: int | None = None

    def take(self, taken: Taken, *, shared: bool = False) -> Callable[[], None]:
        """Ask for the lock and return at once. `taken` is called, from a thread of its own if there was a wait.

        It is told the error if the wait came to one.

        Args:
            shared: for heavy work, together with others; otherwise to measure, alone.

        Returns:
            Gives the lock back, or gives up waiting for it. To be called exactly once.

        Raises:
            OSError: the file cannot be opened or locked.
        """
        with self._state:
            self._shared = shared
            if not self._waiting:
                room = _open(self.path)
                door = self._open_door()
                try:
                    at_once = (door is None or _lock(door, wait=False)) and _lock(room, shared=shared, wait=False)
                except OSError:
                    _close(room, door)
                    raise
                if at_once:
                    self._held = room
                    _close(door)
                else:
                    self._waiting = True
                    threading.Thread(target=self._wait, args=(room, door), name="fleetmark-host-lock", daemon=True).start()
            at_once = self._held is not None
            self._turn = None if at_once else taken
        if at_once:
            taken(None)
        return self._give_back

    def _wait(self, room: int, door: int | None) -> None:
        """Stand in the queue. A blocked flock cannot be called off: whoever gave up leaves its place to the next taker."""
        shared = self._shared
        failure: OSError | None = None
        waits_at_door = door
        while True:
            try:
                if waits_at_door is not None:
                    _lock(waits_at_door, wait=True)
                    waits_at_door = None
                _lock(room, shared=shared, wait=True)
            except OSError as error:
                failure = error
            with self._state:  # at once, or somebody else could come to want it in another way
                if failure is None and self._turn is not None and self._shared != shared:
                    shared = self._shared
                    continue
                turn, self._turn, self._waiting = self._turn, None, False
                if turn is not None and failure is None:
                    self._held = room
                else:
                    _close(room)
            break
        _close(door)
        if turn is not None:
            turn(failure)

    def is_wanted(self) -> bool:
        """Whether somebody waits for the lock at this moment."""
        door = self._open_door()
        if door is None:
            return False
        try:
            return not _lock(door, wait=False)
        finally:
            _close(door)

    def _open_door(self) -> int | None:
        """None where only the lock's own file can be had, such as a single file shared with a container: then nobody keeps the order."""
        try:
            return _open(self.path.with_name(f"{self.path.name}.door"))
        except OSError:
            return None

    def _give_back(self) -> None:
        with self._state:
            self._turn = None
            if self._held is not None:
                os.close(self._held)
                self._held = None

    def holder(self) -> Holder | None:
        """Who has the lock; None when nobody has, or where the kernel does not say (Linux does, of processes that we may see)."""
        import psutil

        try:
            ours = f":{self.path.stat().st_ino}"
            locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
            # 1: FLOCK ADVISORY WRITE <pid> <major>:<minor>:<inode> 0 EOF   (proc_locks(5); one that waits has -> before FLOCK)
            held = [(int(words[4]), words[3]) for words in locks if words[1] == "FLOCK" and words[5].endswith(ours)]
            pid, mode = held[0]
            process = psutil.Process(pid)
            return Holder(pid, process.name(), process.status() == psutil.STATUS_STOPPED, measures=mode == "WRITE")
        except (OSError, LookupError, ValueError, psutil.Error):
            return None


def _open(path: Path) -> int:
    """Open for locking without `O_CREAT` first: in /tmp the kernel refuses that on another user's file (protected_regular)."""
    flags = os.O_CLOEXEC | os.O_NOFOLLOW if sys.platform != "win32" else 0
    with contextlib.suppress(FileNotFoundError):
        return os.open(path, os.O_RDONLY | flags)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | flags, 0o666)
    except FileExistsError:  # another worker was faster
        return os.open(path, os.O_RDONLY | flags)
    if sys.platform != "win32":
        os.fchmod(descriptor, 0o666)  # whatever our umask says, the next worker may be another user's
    return descriptor


def _close(*descriptors: int | None) -> None:
    for descriptor in descriptors:
        if descriptor is not None:
            os.close(descriptor)


def _lock(descriptor: int, *, shared: bool = False, wait: bool) -> bool:
    """Lock a file. Returns false if it is taken and we do not wait."""
    if sys.platform == "win32":
        while not shared:  # msvcrt knows no shared locks, and gives up after ten seconds by itself
            try:
                msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
            except OSError:
                if not wait:
                    return False
            else:
                return True
        return True
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True
