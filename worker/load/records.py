"""Reads the records of requests in blocks, so that 10^7 of them need little memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK = 131_072  # records: 3.7 MB


@dataclass(frozen=True)
class RecordFile:
    """Names the file that one client process has written. `count` is how many of its records are read."""

    path: Path
    count: int

    def blocks(self) -> Iterator[NDArray[np.void]]:
        import numpy as np  # imported here, because the guard must not hold it in memory

        from shared.request_records import record_type

        kind, left = record_type(), self.count
        with self.path.open("rb") as file:
            while left > 0:
                block = np.fromfile(file, kind, count=min(left, BLOCK))
                if not len(block):
                    return
                yield block
                left -= len(block)


def blocks_of(records: NDArray[np.void] | tuple[RecordFile, ...]) -> Iterator[NDArray[np.void]]:
    """Yield the records of several files, or those of an array."""
    if isinstance(records, tuple):
        for file in records:
            yield from file.blocks()
        return
    for start in range(0, len(records), BLOCK):
        yield records[start : start + BLOCK]
