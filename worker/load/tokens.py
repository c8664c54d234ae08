"""Reads what language models wrote, from the files that drivers keep beside the records of requests (`shared.token_records`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shared.request_records import Section
from shared.token_records import GAPS, NOTHING, SECTIONS, TEXTS, TOKENS, token_record_type

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Tokens:
    """Holds one record for each request of a phase, in the order of the requests.

    Attributes:
        gaps: The nanoseconds between events, those of a request together.
    """

    records: NDArray[np.void]
    gaps: NDArray[np.float32]

    def gaps_of(self, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the gaps of the chosen requests."""
        import numpy as np

        counts = np.maximum(self.records["events"].astype(np.int64) - 1, 0)
        return self.gaps[np.repeat(chosen, counts)].astype(float)


def tokens_of(files: Sequence[tuple[Path, int]]) -> Tokens | None:
    """Read what belongs to files of records, or return None if their driver keeps nothing.

    Args:
        files: The path of each file of records, and how many of them it has.
    """
    if not any(_beside(path, TOKENS).exists() for path, _ in files):
        return None
    import numpy as np  # imported here, because the guard must not hold it in memory

    parts = {name: [_content(path, count, name) for path, count in files] for name in (TOKENS, GAPS)}
    records = np.frombuffer(b"".join(parts[TOKENS]), token_record_type())
    return Tokens(records, np.frombuffer(b"".join(parts[GAPS]), np.float32))


def sections_of(files: Sequence[tuple[Path, int]]) -> tuple[tuple[Section, ...], list[bytes]]:
    """Return the sections for the header of `requests.bin`, and their bytes."""
    sections, blocks = [], []
    for name in SECTIONS:
        if any(_beside(path, name).exists() for path, _ in files):
            contents = [_content(path, count, name) for path, count in files]
            sections.append(Section(name, tuple(len(content) for content in contents)))
            blocks += contents
    return tuple(sections), blocks


def _content(path: Path, count: int, name: str) -> bytes:
    """Return what is beside a file of records. A client process that died has left nothing there."""
    beside = _beside(path, name)
    if beside.exists():
        return beside.read_bytes()
    return {TOKENS: NOTHING * count, GAPS: b"", TEXTS: b"null\n" * count}[name]


def _beside(path: Path, name: str) -> Path:
    return path.with_suffix(f".{name}")
