"""Reads what language models wrote, from the files that drivers keep beside the records of requests (`shared.token_records`)."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from shared.request_records import Section
from shared.token_records import GAPS, NOTHING, RECORD, SECTIONS, TEXTS, TOKENS, token_record_type
from worker.load.phases import Measured
from worker.load.records import RecordFile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FILL = {TOKENS: NOTHING, GAPS: b"", TEXTS: b"null\n"}  # of a request whose client process has died
Source = Callable[[], IO[bytes]]


@dataclass(frozen=True)
class TokenBlock:
    """Holds some requests of a phase, in their order.

    Attributes:
        records: Their records.
        tokens: What was written for each of them.
        gaps: The nanoseconds between events, those of a request together.
    """

    records: NDArray[np.void]
    tokens: NDArray[np.void]
    gaps: NDArray[np.float32]

    def gaps_of(self, chosen: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return the gaps of the chosen requests."""
        import numpy as np  # imported here, because the guard must not hold it in memory

        return self.gaps[np.repeat(chosen, _gap_counts(self.tokens))]


def has_tokens(phase: Measured) -> bool:
    """Return whether the driver of a phase has kept what was written."""
    return isinstance(phase.records, tuple) and any(_beside(file.path, TOKENS).exists() for file in phase.records)


def token_blocks(phase: Measured) -> Iterator[TokenBlock]:
    """Yield the requests of a phase in blocks, so that many of them need little memory."""
    import numpy as np  # imported here, because the guard must not hold it in memory

    assert isinstance(phase.records, tuple)
    kind = token_record_type()
    for file in phase.records:
        with _opened(file, TOKENS) as of_tokens, _opened(file, GAPS) as of_gaps:
            for records in file.blocks():
                tokens = np.frombuffer(of_tokens.read(len(records) * RECORD.size), kind)
                gaps = np.frombuffer(of_gaps.read(4 * int(_gap_counts(tokens).sum())), np.float32)
                yield TokenBlock(records, tokens, gaps)


def _gap_counts(tokens: NDArray[np.void]) -> NDArray[np.int64]:
    import numpy as np  # imported here, because the guard must not hold it in memory

    counts: NDArray[np.int64] = np.maximum(tokens["events"].astype(np.int64) - 1, 0)
    return counts


def sections_of(files: Sequence[RecordFile]) -> tuple[tuple[Section, ...], list[tuple[Source, int]]]:
    """Return the sections for the header of `requests.bin`, and where the bytes of each come from, with their number."""
    sections: list[Section] = []
    sources: list[tuple[Source, int]] = []
    for name in SECTIONS:
        if not any(_beside(file.path, name).exists() for file in files):
            continue
        sizes = [path.stat().st_size if (path := _beside(one.path, name)).exists() else one.count * len(FILL[name]) for one in files]
        sections.append(Section(name, tuple(sizes)))
        sources += [(partial(_opened, file, name), size) for file, size in zip(files, sizes, strict=True)]
    return tuple(sections), sources


def _opened(file: RecordFile, name: str) -> IO[bytes]:
    """Open what is beside a file of records. A client process that died has left nothing there."""
    path = _beside(file.path, name)
    return path.open("rb") if path.exists() else io.BytesIO(FILL[name] * file.count)


def _beside(path: Path, name: str) -> Path:
    return path.with_suffix(f".{name}")
