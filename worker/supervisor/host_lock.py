"""One lock a host: two workers on it never measure at the same time."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


def default_lock_path() -> Path:
    return Path(tempfile.gettempdir()) / "fleetmark-measure.lock"


class HostLock:
    """An advisory lock on a file that every user of the host may open. The kernel lets it go when the process ends.

    Not reentrant; one taker at a time in a process.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def take(self, taken: Callable[[], None]) -> Callable[[], None]:
        """Ask for the lock and return at once. `taken` is called, from a thread of its own if there was a wait.

        Returns:
            Gives the lock back, or gives up waiting for it. To be called exactly once.
        """
        descriptor = _open(self._path)
        if _lock(descriptor, wait=False):
            taken()
            return lambda: os.close(descriptor)
        state = threading.Lock()
        given_up = held = False

        def wait() -> None:
            nonlocal held
            _lock(descriptor, wait=True)
            with state:
                if given_up:
                    os.close(descriptor)
                    return
                held = True
            taken()

        def give_back() -> None:
            nonlocal given_up
            with state:
                given_up = True
                if held:
                    os.close(descriptor)

        # A blocked flock cannot be called off: the thread of a job that gave up closes the file when its turn comes.
        threading.Thread(target=wait, name="fleetmark-host-lock", daemon=True).start()
        return give_back


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
