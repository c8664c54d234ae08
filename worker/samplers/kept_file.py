"""Reads small files of /proc and /sys again and again. A file stays open, which makes a reading three times as cheap."""

from __future__ import annotations

import math
import os
from pathlib import Path

BYTES = 65_536


class KeptFile:
    """Keeps one file open, and reads it from its beginning each time.

    Raises:
        OSError: The file cannot be opened, or not be read any more.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor: int | None = os.open(path, os.O_RDONLY)

    def beginning(self) -> str:
        """Return what one reading gives. For most files of /proc that is at most a page of memory (4 KB), however much is asked for."""
        return self._first().decode("ascii", errors="replace")

    def text(self) -> str:
        """Return the whole text."""
        pieces = [self._first()]
        while pieces[-1] and self._descriptor is not None:
            pieces.append(os.read(self._descriptor, BYTES))
        return b"".join(pieces).decode("ascii", errors="replace")

    def _first(self) -> bytes:
        if self._descriptor is None:
            raise OSError("it is closed")
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        return os.read(self._descriptor, BYTES)

    def number(self) -> float:
        """Return the number that the file holds.

        Raises:
            OSError: It cannot be read, or holds no number, or none that is finite.
        """
        text = self.beginning().strip()
        try:
            if math.isfinite(number := float(text)):
                return number
        except ValueError:
            pass
        raise OSError(f"it holds {text[:40]!r}, which is no number")

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def number_in(path: Path) -> float | None:
    """Return the number that a file holds, or None if it cannot be read or is not finite."""
    try:
        number = float(path.read_text().strip())
    except (OSError, ValueError):
        return None
    return number if math.isfinite(number) else None


def text_in(path: Path) -> str:
    """Return the text of a file without the line's end. It is empty if the file cannot be read."""
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return ""
