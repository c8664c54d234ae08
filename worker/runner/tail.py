"""The last bytes of an output that may be endless."""

from __future__ import annotations

LIMIT = 16 * 1024  # enough for a traceback and a runtime's complaint; a message carries it whole


class Tail:
    """Keeps the last `LIMIT` bytes of what is fed to it, and counts all of them."""

    def __init__(self) -> None:
        self._kept = b""
        self.total = 0

    def feed(self, data: bytes) -> None:
        self.total += len(data)
        self._kept = (self._kept + data)[-LIMIT:]

    def text(self) -> str:
        """Whole lines where the beginning was cut off, with a note of how much is missing."""
        kept = self._kept.decode("utf-8", errors="replace")
        if self.total <= LIMIT:
            return kept.strip()
        _, _, kept = kept.partition("\n")
        return f"[… {self.total - LIMIT} bytes before this left out]\n{kept.strip()}"
