"""One lock a host: two workers on it never measure at the same time."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


def default_lock_path() -> Path:
    return Path(tempfile.gettempdir()) / "fleetmark-measure.lock"


Taken = Callable[[OSError | None], None]


@dataclass(frozen=True)
class Holder:
    """Who has the lock, as far as this host tells."""

    pid: int
    name: str
    stopped: bool  # by SIGSTOP: it keeps the lock for as long as nobody continues or ends it

    def __str__(self) -> str:
        return f"process {self.pid} ({self.name}{', stopped' if self.stopped else ''})"


class HostLock:
    """An advisory lock on a file that every user of the host may open. The kernel lets it go when the process ends.

    Not reentrant; one taker at a time in a process.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._state = threading.Lock()  # of everything below
        self._turn: Taken | None = None  # whoever waits
        self._waiting = False  # whether a thread stands in the queue
        self._held: int | None = None

    def take(self, taken: Taken) -> Callable[[], None]:
        """Ask for the lock and return at once. `taken` is called, from a thread of its own if there was a wait.

        It is told the error if the wait came to one.

        Returns:
            Gives the lock back, or gives up waiting for it. To be called exactly once.

        Raises:
            OSError: the file cannot be opened or locked.
        """
        with self._state:
            if not self._waiting:
                descriptor = _open(self.path)
                try:
                    self._held = descriptor if _lock(descriptor, wait=False) else None
                except OSError:
                    os.close(descriptor)
                    raise
                if self._held is None:
                    self._waiting = True
                    threading.Thread(target=self._wait, args=(descriptor,), name="fleetmark-host-lock", daemon=True).start()
            at_once = self._held is not None
            self._turn = None if at_once else taken
        if at_once:
            taken(None)
        return self._give_back

    def _wait(self, descriptor: int) -> None:
        """Stand in the queue. A blocked flock cannot be called off: whoever gave up leaves its place to the next taker."""
        failure: OSError | None = None
        try:
            _lock(descriptor, wait=True)
        except OSError as error:
            failure = error
        with self._state:
            turn, self._turn, self._waiting = self._turn, None, False
            if turn is not None and failure is None:
                self._held = descriptor
            else:
                os.close(descriptor)
        if turn is not None:
            turn(failure)

    def _give_back(self) -> None:
        with self._state:
            self._turn = None
            if self._held is not None:
                os.close(self._held)
                self._held = None

    def holder(self) -> Holder | None:
        """Who has it now; None when nobody has, or where the kernel does not say (Linux does, of processes that we may see)."""
        import psutil

        try:
            ours = f":{self.path.stat().st_ino}"
            locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
            # 1: FLOCK ADVISORY WRITE <pid> <major>:<minor>:<inode> 0 EOF   (proc_locks(5); one that waits has -> before FLOCK)
            pids = [int(words[4]) for words in locks if words[1] == "FLOCK" and words[5].endswith(ours)]
            process = psutil.Process(pids[0])
            return Holder(process.pid, process.name(), process.status() == psutil.STATUS_STOPPED)
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


def _lock(descriptor: int, *, wait: bool) -> bool:
    if sys.platform == "win32":
        while True:  # msvcrt gives up after ten seconds by itself
            try:
                msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
            except OSError:
                if not wait:
                    return False
            else:
                return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True
