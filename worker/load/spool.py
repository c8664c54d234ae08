"""Writes one record of fixed size for each request, while a load runs. The format is that of `shared.request_records`."""

from __future__ import annotations

import struct
from pathlib import Path

from shared.request_records import MOST_BYTES, RECORD

RECORDS = 4_096  # are written to the file at once: 115 kB, which takes the kernel about 50 us
DUE = struct.Struct("<q")  # the first field of a record
NAN = float("nan")
NOW = struct.Struct("<QQ")  # what `Spool.tell` writes


class Spool:
    """Holds the records of one phase of one client process. `count` is how many there are."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b", buffering=0)
        self._buffer = bytearray(RECORD.size * RECORDS)
        self._place = 0
        self.base = 0
        """The moment that `scheduled` counts from, by `perf_counter_ns`."""
        self.count = 0
        self._now = now_path(path).open("wb", buffering=0)

    def begin(self, base_ns: int) -> None:
        """Set the moment that `scheduled` counts from."""
        self.base = base_ns

    def begin_later(self, base_ns: int) -> None:
        """Move the moment that `scheduled` counts from to a later one. What was recorded until now is from before it.

        Only what was recorded since the old moment has a time that is not negative, so only the last two blocks are looked at.
        """
        later = base_ns - self.base
        self.base = base_ns
        written = max(0, self._file.tell() - len(self._buffer))
        self._file.seek(written)
        block = bytearray(self._file.read())
        for data, length in ((block, len(block)), (self._buffer, self._place)):
            for place in range(0, length, RECORD.size):
                (due,) = DUE.unpack_from(data, place)
                DUE.pack_into(data, place, due - later)
        self._file.seek(written)
        self._file.write(block)

    def add(self, scheduled: int, sent: int, first: int, last: int, size: int, status: int, operation: int, failure: int) -> None:
        """Add a request that has ended; see `worker.drivers.base.Sink.done`. `first` and `last` are 0 if they never were."""
        RECORD.pack_into(
            self._buffer,
            self._place,
            scheduled - self.base,
            sent - scheduled,
            first - sent if first else NAN,
            last - sent if last else NAN,
            size if size < MOST_BYTES else MOST_BYTES,
            status,
            operation,
            failure,
        )
        self._place += RECORD.size
        self.count += 1
        if self._place == len(self._buffer):
            self._file.write(self._buffer)
            self._place = 0

    def flush(self) -> None:
        """Write what is there, so that others can see how the load goes."""
        self._file.write(memoryview(self._buffer)[: self._place])
        self._place = 0

    def tell(self, in_flight: int, behind_ns: int) -> None:
        """Write how many requests are in flight, and for how long the oldest one is due that was not sent."""
        self._now.seek(0)
        self._now.write(NOW.pack(in_flight, behind_ns))

    def close(self) -> None:
        """Write what is left."""
        self.flush()
        self._file.close()
        self._now.close()


def now_path(records: Path) -> Path:
    """Return the file beside those records that says what is in flight."""
    return records.with_suffix(".now")
