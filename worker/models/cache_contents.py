"""Tells what the files of a cache take on the disk, and in which order they may be removed."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from stat import S_ISDIR

SETS = "sets"


class Contents:
    """Counts what the files of a cache take on the disk.

    A file that is linked into sets takes its room once. It is free again only when the blob and all these sets are gone.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self.used: dict[Path, float] = {}  # the time of last use of each blob, set and partial download
        self._sizes: dict[tuple[int, int], int] = {}  # keyed by device and inode
        self._holders: dict[tuple[int, int], set[Path]] = defaultdict(set)
        for path in paths:
            with contextlib.suppress(FileNotFoundError):  # another process removes files meanwhile
                stat = path.stat()
                self.used[path] = stat.st_mtime
                for file in path.rglob("*") if path.is_dir() else (path,):
                    stat = file.lstat()
                    if not S_ISDIR(stat.st_mode):
                        self._sizes[stat.st_dev, stat.st_ino] = stat.st_size
                        self._holders[stat.st_dev, stat.st_ino].add(path)

    def size(self) -> int:
        return sum(self._sizes.values())

    def oldest_first(self) -> list[tuple[float, Path]]:
        """Return each path with its last use. A blob was used when a set that contains it was used, and comes after that set."""
        used = dict(self.used)
        for holders in self._holders.values():
            latest = max(self.used[path] for path in holders)
            used |= {path: latest for path in holders if not _is_set(path)}
        return sorted(((at, path) for path, at in used.items()), key=lambda entry: (entry[0], not _is_set(entry[1])))

    def in_a_set(self, path: Path) -> bool:
        """Return whether a blob is linked into a set, so that removing the blob would free nothing."""
        return not _is_set(path) and any(path in holders and any(map(_is_set, holders)) for holders in self._holders.values())

    def remove(self, path: Path) -> None:
        for inode, holders in list(self._holders.items()):
            holders.discard(path)
            if not holders:
                del self._holders[inode], self._sizes[inode]


def _is_set(path: Path) -> bool:
    return path.parent.name == SETS
