"""Implements the lock of a host. Either one worker measures alone, or any number of workers do heavy work and none measures.

There are two lock files. The `room` is the lock itself: it is held exclusively to measure, and shared for heavy work such as
hashing gigabytes. The `door` is the queue: a worker that waits for the room holds the door, so that nobody can overtake it. Without
it a series of downloads could keep out a measurement for ever, and a series of measurements could keep out a download.
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
    """Describes the process that holds the lock, as far as the kernel tells."""

    pid: int
    name: str
    stopped: bool  # by SIGSTOP: it keeps the lock until somebody continues or kills it
    measures: bool  # False: it does heavy work, such as fetching a model

    def __str__(self) -> str:
        return f"process {self.pid} ({self.name}{', stopped' if self.stopped else ''})"


class HostLock:
    """Takes and gives back the host's lock: advisory locks on files that every user may open. The kernel frees them when a process ends.

    It is not reentrant, and one process may have only one taker at a time: give the lock for heavy work back before you take it to
    measure. On Windows only measuring takes the lock.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._state = threading.Lock()  # guards everything below
        self._turn: Taken | None = None  # the callback of the taker that waits now
        self._shared = False  # the mode that this taker wants, or that the last one wanted
        self._waiting = False  # whether the thread that runs `_wait` is alive
        self._held: int | None = None

    def take(self, taken: Taken, *, shared: bool = False) -> Callable[[], None]:
        """Ask for the lock and return at once. `taken` is called when the lock is ours, from another thread if there was a wait.

        `taken` receives None, or the error that ended the wait.

        Args:
            shared: True for heavy work, which others may do at the same time. False for measuring, which excludes all others.

        Returns:
            A function that gives the lock back, or stops waiting for it. Call it exactly once.

        Raises:
            OSError: The file cannot be opened or locked.
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
        """Wait for the door, then for the room.

        A blocked flock call cannot be interrupted. When the taker gives up, this thread stays blocked, and the next taker uses its place.
        """
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
            with self._state:  # check and take in one step: between two, a taker could come that wants the other mode
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
        """Return whether a process waits for the lock at this moment."""
        door = self._open_door()
        if door is None:
            return False
        try:
            return not _lock(door, wait=False)
        finally:
            _close(door)

    def _open_door(self) -> int | None:
        """Open the file of the queue. Return None if only the lock file is accessible.

        This is so, for example, when that single file is shared with a container. Then waiting workers can overtake each other.
        """
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
        """Return who holds the lock, or None if nobody does or the kernel does not say. Linux tells it for processes that we may see."""
        import psutil

        try:
            ours = f":{self.path.stat().st_ino}"
            locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
            # 1: FLOCK ADVISORY WRITE <pid> <major>:<minor>:<inode> 0 EOF   (proc_locks(5); a waiting process has -> before FLOCK)
            held = [(int(words[4]), words[3]) for words in locks if words[1] == "FLOCK" and words[5].endswith(ours)]
            pid, mode = held[0]
            process = psutil.Process(pid)
            return Holder(pid, process.name(), process.status() == psutil.STATUS_STOPPED, measures=mode == "WRITE")
        except (OSError, LookupError, ValueError, psutil.Error):
            return None


def _open(path: Path) -> int:
    """Open a file for locking, and create it if it does not exist.

    `O_CREAT` is not used at first: in /tmp the kernel refuses it for a file of another user (the setting protected_regular).
    """
    flags = os.O_CLOEXEC | os.O_NOFOLLOW if sys.platform != "win32" else 0
    with contextlib.suppress(FileNotFoundError):
        return os.open(path, os.O_RDONLY | flags)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | flags, 0o666)
    except FileExistsError:  # another worker created it first
        return os.open(path, os.O_RDONLY | flags)
    if sys.platform != "win32":
        os.fchmod(descriptor, 0o666)  # despite our umask: the next worker may run as another user
    return descriptor


def _close(*descriptors: int | None) -> None:
    for descriptor in descriptors:
        if descriptor is not None:
            os.close(descriptor)


def _lock(descriptor: int, *, shared: bool = False, wait: bool) -> bool:
    """Lock a file. Return False if another process holds the lock and `wait` is false."""
    if sys.platform == "win32":
        while not shared:  # msvcrt has no shared locks, and LK_LOCK gives up after ten seconds
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
