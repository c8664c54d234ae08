"""Tests marked `alone` run beside no other test, however many processes share the suite (`pytest -n 4`)."""

from __future__ import annotations

import fcntl
from pathlib import Path


class Room:
    """Holds any number of tests, or one that is alone. The locks are the kernel's: a process that dies has left.

    Whoever waits for the room to empty holds the door, so that nobody slips in before it, however many come.
    """

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: the same for every process of this run, and for no other run.
        """
        self._door, self._room = ((folder / name).open("w") for name in ("door.lock", "room.lock"))
        self._inside = False

    def enter(self, *, alone: bool) -> None:
        """Wait for the others where need be; nothing is done if this process has not left."""
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
