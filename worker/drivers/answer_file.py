"""Keeps whole answers in a file, in the order in which their requests are recorded, until the load has ended."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

HEAD = struct.Struct("<qqqIIHB")
AT_ONCE = 128 * 1_024  # bytes are written together, which takes the kernel about 50 us


@dataclass(frozen=True)
class KeptAnswer:
    """Holds one answer, or what had arrived of it.

    Attributes:
        record: The place of its request among the records.
        number: The number of its request, which its prompt follows from.
        sent: When the request was sent, by `perf_counter_ns`.
        arrived: For each piece of the body, when it arrived and how many bytes it has, in turns.
    """

    record: int
    number: int
    sent: int
    arrived: Sequence[int]
    body: bytes
    status: int
    failure: int


class AnswerFile:
    """Takes answers while a load runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("wb", buffering=0)
        self._waiting: list[bytes] = []
        self._size = 0

    def add(self, record: int, number: int, sent: int, arrived: array[int], body: bytes, status: int, failure: int) -> None:
        """Add an answer; see `KeptAnswer`."""
        self._waiting += (HEAD.pack(record, number, sent, len(arrived), len(body), status, failure), arrived.tobytes(), body)
        self._size += len(body) + 8 * len(arrived)
        if self._size > AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        data = b"".join(self._waiting)
        while data:
            data = data[self._file.write(data) :]
        self._waiting.clear()
        self._size = 0

    def close(self) -> None:
        self._flush()
        self._file.close()


def kept_answers(path: Path) -> Iterator[KeptAnswer]:
    """Yield the answers of a file that was closed."""
    with path.open("rb") as file:
        while head := file.read(HEAD.size):
            record, number, sent, pieces, length, status, failure = HEAD.unpack(head)
            arrived = array("q")
            arrived.frombytes(file.read(8 * pieces))
            yield KeptAnswer(record, number, sent, arrived, file.read(length), status, failure)
