"""Tells how a load goes, from the files that the client processes write. It runs in a process that sends nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter_ns

from shared.request_records import RECORD, SUCCESS

LOOKED_AT = 1_000  # of the newest records of each process; more would take time from the clients, if there are few cores
NS = 1e9


class News:
    """Looks at the records of one phase while it runs."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._seen = dict.fromkeys(paths, 0)  # bytes of each file
        self._at = perf_counter_ns()

    def look(self) -> str:
        """Return the requests per second since the last look, and the median latency and the failures among the newest of them."""
        now, before = perf_counter_ns(), self._at
        ended = failed = looked = 0
        latencies: list[float] = []
        for path, seen in self._seen.items():
            size = path.stat().st_size // RECORD.size * RECORD.size if path.exists() else 0
            ended += (size - seen) // RECORD.size
            with path.open("rb") as file:
                file.seek(max(seen, size - LOOKED_AT * RECORD.size))
                for *_, last, _size, _status, _operation, failure in RECORD.iter_unpack(file.read(size - file.tell())):
                    looked += 1
                    failed += failure != SUCCESS
                    if failure == SUCCESS:
                        latencies.append(last)
            self._seen[path] = size
        self._at = now
        rate = ended / (now - before) * NS
        if not looked:
            return "no request has ended since the last look"
        parts = [f"{rate:.4g} requests/s"]
        if latencies:
            parts.append(f"median {median(latencies) / 1e6:.3g} ms")
        return ", ".join([*parts, f"{failed} of the newest {looked} failed" if failed else "none failed"])
