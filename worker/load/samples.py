"""Collects the latencies of requests, and summarises them: exact percentiles, with 4 bytes of memory for each request."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, overload

import numpy as np

from shared.distributions import Distribution
from shared.percentiles import PERCENTILE_FLOORS
from shared.stats import median_interval_of_repeats, order_statistic_interval, why_no_interval
from worker.load.phases import Measured

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHUNK = 1_048_576
NS_OF_MS = 1e6
# What is taken of a record, in nanoseconds: from sending to the last byte, from when it was due to the last byte, from sending to the first
# byte, from when it was due to sending.
_OF: dict[str, Callable[[NDArray[np.void]], NDArray[np.floating]]] = {
    "sent": lambda block: block["last"],
    "scheduled": lambda block: block["delay"].astype(float) + block["last"],
    "first": lambda block: block["first"],
    "delay": lambda block: block["delay"],
}


def values_of(phases: Iterable[Measured], of: str, *, failed: bool = False, operation: int | None = None) -> Iterator[NDArray[np.floating]]:
    """Yield the values of the measured requests in blocks, in nanoseconds, in the order in which they ended. Failed ones are apart.

    Args:
        of: One of `_OF`.
        operation: Only requests of this operation.
    """
    for phase in phases:
        for block in phase.blocks():
            chosen = phase.counted(block) & ((block["failure"] > 0) == failed)
            if operation is not None:
                chosen &= block["operation"] == operation
            values = _OF[of](block)[chosen]
            yield values[~np.isnan(values)]


def latencies_ms(phases: Sequence[Measured], *, of: str = "sent", failed: bool = False) -> NDArray[np.float64]:
    """Return the values of `values_of` in milliseconds, all at once."""
    found = [values.astype(float) / NS_OF_MS for values in values_of(phases, of, failed=failed)]
    return np.concatenate(found) if found else np.zeros(0)


class Sample:
    """Holds values in order of their size, in nanoseconds. `first` is the one that was measured first."""

    def __init__(self, ordered: NDArray[np.float32], first: float) -> None:
        self.ordered, self.first = ordered, first

    @classmethod
    def of(cls, blocks: Iterable[NDArray[np.floating]], most: int) -> Sample:
        """Take values. There are no more of them than `most`."""
        values = np.empty(most, np.float32)
        count = 0
        for block in blocks:
            values[count : count + len(block)] = block
            count += len(block)
        values = values[:count]
        first = float(values[0]) if count else math.nan
        values.sort()
        return cls(values, first)

    @classmethod
    def merged(cls, samples: Sequence[Sample]) -> Sample:
        """Return the values of several samples as one. The samples are empty afterwards, because their memory is needed."""
        known = [sample for sample in samples if len(sample)]
        if len(known) == 1:
            return known[0]
        values = np.empty(sum(map(len, known)), np.float32)
        first, count = known[0].first if known else math.nan, 0
        for sample in known:
            values[count : count + len(sample)] = sample.ordered
            count += len(sample)
            sample.ordered = values[:0]
        values.sort()
        return cls(values, first)

    def __len__(self) -> int:
        return len(self.ordered)

    def percentile_ms(self, rank: float) -> float:
        """Return a percentile by linear interpolation between the closest ranks."""
        place = (len(self.ordered) - 1) * rank / 100
        low = math.floor(place)
        below, above = float(self.ordered[low]), float(self.ordered[min(low + 1, len(self.ordered) - 1)])
        return (below + (above - below) * (place - low)) / NS_OF_MS

    @property
    def mean_ms(self) -> float:
        return float(self.ordered.sum(dtype=np.float64)) / len(self.ordered) / NS_OF_MS

    def stddev_ms(self) -> float | None:
        """Return the sample standard deviation, or None for one value."""
        if len(self.ordered) < 2:
            return None
        mean, squares = self.mean_ms * NS_OF_MS, 0.0
        for start in range(0, len(self.ordered), CHUNK):
            squares += float(((self.ordered[start : start + CHUNK].astype(np.float64) - mean) ** 2).sum())
        return math.sqrt(squares / (len(self.ordered) - 1)) / NS_OF_MS

    def outliers(self) -> int:
        """Return how many values are more than 1.5 interquartile ranges outside the quartiles (Tukey 1977)."""
        low, high = self.percentile_ms(25), self.percentile_ms(75)
        fence = 1.5 * (high - low)
        below = np.searchsorted(self.ordered, np.float32((low - fence) * NS_OF_MS), side="left")
        not_above = np.searchsorted(self.ordered, np.float32((high + fence) * NS_OF_MS), side="right")
        return int(below) + len(self.ordered) - int(not_above)

    def distribution(self, repeat_medians_ms: Sequence[float]) -> Distribution:
        """Summarise the values, which are not empty, as `shared.stats.describe` does."""
        figures: dict[str, float | None] = {}
        missing: dict[str, str] = {}
        for name, (rank, floor) in PERCENTILE_FLOORS.items():
            figures[name] = self.percentile_ms(rank) if len(self) >= floor else None
            if len(self) < floor:
                missing[name] = f"needs {floor} samples, has {len(self)}"
        if reason := why_no_interval(repeat_medians_ms):
            missing["median_ci"] = reason
        return Distribution(
            n=len(self),
            median=self.percentile_ms(50),
            mean=self.mean_ms,
            stddev=self.stddev_ms(),
            min=float(self.ordered[0]) / NS_OF_MS,
            max=float(self.ordered[-1]) / NS_OF_MS,
            first=self.first / NS_OF_MS,
            missing=missing,
            outliers=self.outliers(),
            median_ci=median_interval_of_repeats(list(repeat_medians_ms)),
            median_ci_within=order_statistic_interval(_InMs(self.ordered), "order statistics within the pooled sample"),
            **figures,
        )


class _InMs(Sequence[float]):
    """Shows values in milliseconds without a copy of all of them."""

    def __init__(self, values_ns: NDArray[np.float32]) -> None:
        self._values = values_ns

    def __len__(self) -> int:
        return len(self._values)

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> _InMs: ...
    def __getitem__(self, index: int | slice) -> float | _InMs:
        return _InMs(self._values[index]) if isinstance(index, slice) else float(self._values[index]) / NS_OF_MS
