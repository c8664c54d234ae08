"""Keeps the histograms of jobs in Redis, so that every process of the API shows the same ones.

The consumer adds to them after its transaction. If it is killed in between, these jobs are missing from the histograms, though not from the
table. If Redis loses its data, the histograms begin again at 0, which Prometheus takes for a restart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from orchestrator.domain.buckets import BOUNDS, Observation, bucket_of
from orchestrator.registry.link import Link
from shared.protocol import keys

_SEPARATOR = "|"
_SUM = "sum"
_LONGEST_S = 365 * 86_400.0


class Histogram(NamedTuple):
    """Holds one histogram. `counts` has one number for each bound, and one for values above the last; they are not cumulative."""

    name: str
    capability: str
    status: str
    counts: tuple[int, ...]
    total_s: float


class Histograms:
    """Reads and writes the histograms. Both methods raise `Unavailable` if Redis does not answer."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def add(self, observations: Iterable[Observation]) -> None:
        counts: dict[str, int] = defaultdict(int)
        sums: dict[str, float] = defaultdict(float)
        for name, capability, status, seconds in observations:
            if not seconds < _LONGEST_S:  # the clock of the device was set while it ran: 55 years would spoil the sum for ever
                continue
            key = _SEPARATOR.join((name, capability, status))
            counts[f"{key}{_SEPARATOR}{bucket_of(seconds)}"] += 1
            sums[f"{key}{_SEPARATOR}{_SUM}"] += max(seconds, 0.0)
        if not counts:
            return
        with self._link.answering():
            pipeline = self._link.redis.pipeline(transaction=True)
            for field, number in counts.items():
                pipeline.hincrby(keys.HISTOGRAMS, field, number)
            for field, seconds in sums.items():
                pipeline.hincrbyfloat(keys.HISTOGRAMS, field, seconds)
            pipeline.execute()

    def read(self) -> list[Histogram]:
        """Return all histograms. Fields that cannot be read are left out."""
        with self._link.answering():
            fields = self._link.redis.hgetall(keys.HISTOGRAMS)
        counts: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0] * (len(BOUNDS) + 1))
        sums: dict[tuple[str, str, str], float] = defaultdict(float)
        for field, text in fields.items():
            parts = str(field).split(_SEPARATOR)
            if len(parts) != 4:
                continue
            key = (parts[0], parts[1], parts[2])
            try:
                if parts[3] == _SUM:
                    sums[key] = float(text)
                else:
                    counts[key][int(parts[3])] = int(text)
            except (ValueError, IndexError):
                continue
        return [Histogram(*key, tuple(found), sums[key]) for key, found in sorted(counts.items())]
