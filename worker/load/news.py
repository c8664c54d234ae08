"""Tells how a load goes, from the files that the client processes write. It runs in a process that sends nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from time import perf_counter_ns

from shared.percentiles import PERCENTILE_FLOORS
from shared.request_records import RECORD, SUCCESS
from worker.load.spool import NOW, now_path

LOOKED_AT = 1_000  # of the newest records of each process; more would take time from the clients, if there are few cores
NS = 1e9
BEHIND_NS = 100_000_000  # from then on it is told that the client is behind its schedule
SHOWN = ("p99", "p95", "p90")  # the highest of them that the newest records allow is told


@dataclass
class _Seen:
    """Says how far the records of one process were read: the size of the file, and when the newest request had ended."""

    size: int = 0
    newest_ns: float | None = None


class News:
    """Looks at the records of one phase while it runs."""

    def __init__(self, paths: Sequence[Path], begin_ns: int = 0, count: int | None = None, duration_s: float | None = None) -> None:
        """Prepare.

        Args:
            paths: The file of each process.
            begin_ns: When the measured window begins, by `perf_counter_ns`.
            count: How many requests all processes send in the window, if the phase ends after a number of them.
            duration_s: How long the window is otherwise.
        """
        self._seen = {path: _Seen() for path in paths}
        self._at = perf_counter_ns()
        self._begin_ns, self._count, self._duration_s = begin_ns, count, duration_s
        self._counted = 0.0  # requests of the window that have ended

    def share(self) -> float:
        """Return how much of the window is done, from 0 to 1, as of the last look."""
        if self._duration_s:
            return min(1.0, max(0.0, (self._at - self._begin_ns) / NS / self._duration_s))
        return min(1.0, self._counted / self._count) if self._count else 0.0

    def look(self) -> str:
        """Return the requests per second since the last look, the latencies and the failures among the newest, and what is in flight."""
        now, before = perf_counter_ns(), self._at
        failed = looked = in_flight = behind_ns = 0
        rate = 0.0
        latencies: list[float] = []
        for path, seen in self._seen.items():
            if not path.exists():
                continue
            size = path.stat().st_size // RECORD.size * RECORD.size
            new, newest, read, warm_up = (size - seen.size) // RECORD.size, -math.inf, 0, 0
            with path.open("rb") as file:
                file.seek(max(seen.size, size - LOOKED_AT * RECORD.size))
                for due, delay, _first, last, _size, _status, _operation, failure in RECORD.iter_unpack(file.read(size - file.tell())):
                    read += 1
                    warm_up += due < 0
                    failed += failure != SUCCESS
                    if failure == SUCCESS:
                        latencies.append(last)
                    newest = max(newest, due + delay + (0.0 if math.isnan(last) else last))
            looked += read
            if new:  # a process writes its records now and then, so the time between two looks is not that of the new ones
                took_ns = newest - seen.newest_ns if seen.newest_ns is not None else now - before
                self._counted += new * (read - warm_up) / read
                rate += new / max(took_ns, 1.0) * NS
                seen.size, seen.newest_ns = size, newest
            told = now_path(path).read_bytes() if now_path(path).exists() else b""
            if len(told) == NOW.size:
                flying, late_ns = NOW.unpack(told)
                in_flight, behind_ns = in_flight + flying, max(behind_ns, late_ns)
        self._at = now
        return ", ".join([*_said(rate, latencies, failed, looked), *_in_flight(in_flight, behind_ns)])


def _said(rate: float, latencies: list[float], failed: int, looked: int) -> list[str]:
    if not looked:
        return ["no request has ended since the last look"]
    parts = [f"{rate:.4g} requests/s"]
    if len(latencies) == 1:
        parts.append(f"median {latencies[0] / 1e6:.3g} ms")
    elif latencies:
        cuts = quantiles(latencies, n=100, method="inclusive")
        parts.append(f"median {cuts[49] / 1e6:.3g} ms")
        high = next((name for name in SHOWN if len(latencies) >= PERCENTILE_FLOORS[name][1]), None)
        if high is not None:
            parts.append(f"{high} {cuts[round(PERCENTILE_FLOORS[high][0]) - 1] / 1e6:.3g} ms")
    return [*parts, f"{failed} of the newest {looked} failed" if failed else "none failed"]


def _in_flight(in_flight: int, behind_ns: int) -> list[str]:
    return [
        f"{in_flight} in flight",
        *([f"the schedule is {behind_ns / NS:.1f} s ahead of what was sent"] if behind_ns > BEHIND_NS else []),
    ]
