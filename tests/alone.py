"""Makes tests marked `alone` run while no other test runs, also if several processes share the suite (`pytest -n 4`)."""

from __future__ import annotations

import fcntl
from pathlib import Path


class Room:
    """Holds any number of ordinary tests, or one test marked `alone`. It uses file locks, which the kernel releases when a process dies.

    A test that waits for the room to become empty holds a second lock, the door. So no later test can enter before it.
    """

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: the same for every process of this run, and for no other run.
        """
        self._door, self._room = ((folder / name).open("w") for name in ("door.lock", "room.lock"))
        self._inside = False

    def enter(self, *, alone: bool) -> None:
        """Enter the room, and wait for other tests if necessary. Does nothing if this process is still in the room."""
        if self._inside:
            return
        fcntl.flock(self._door, fcntl.LOCK_EX)
        fcntl.flock(self._room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(self._door, fcntl.LOCK_UN)
        self._inside = True

    def leave(self) -> None:
        fcntl.flock(self._room, fcntl.LOCK_UN)
        self._inside = False

    def close(self) -> None:
        self._door.close()
        self._room.close()
