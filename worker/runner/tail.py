"""Keeps the last bytes of an output of any length."""

from __future__ import annotations

LIMIT = 16 * 1024  # enough for a traceback and a runtime's message, and small enough to send in one message


class Tail:
    """Keeps the last `LIMIT` bytes of the data it receives, and counts all bytes."""

    def __init__(self) -> None:
        self._kept = b""
        self.total = 0

    def feed(self, data: bytes) -> None:
        self.total += len(data)
        self._kept = (self._kept + data)[-LIMIT:]

    def text(self) -> str:
        """Return the kept text. If the beginning was cut off, it starts with a whole line and a note of how much is missing."""
        kept = self._kept.decode("utf-8", errors="replace")
        if self.total <= LIMIT:
            return kept.strip()
        _, _, kept = kept.partition("\n")
        return f"[… {self.total - LIMIT} bytes before this left out]\n{kept.strip()}"
