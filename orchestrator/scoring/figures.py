"""Computes the figures of a job from the scores of its documents."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from orchestrator.scoring.process import UNSCORED
from orchestrator.scoring.run import Scored
from shared.distributions import Interval
from shared.figures import Figure, FigureKind

RESAMPLES = 2_000
BOOTSTRAP = f"percentile bootstrap over documents ({RESAMPLES} resamples)"
WILSON = "Wilson score over documents"
DRAWN_AT_ONCE = 1_000_000  # indices, so that 10 000 documents take no gigabytes
LEVEL, Z = 0.95, 1.959963985
SEED = 1


def figures_of(scored: Scored, kinds: Mapping[str, FigureKind]) -> list[Figure]:
    """Return the mean of each figure over the documents that were scored, with a 95 % interval over them."""
    numbers = [one for one in scored.each if UNSCORED not in one]
    if not numbers:
        why = f"none of {len(scored.each)} documents could be scored: {next(iter(reasons(scored)), 'there is none')}"
        return [Figure.of(name, kind, missing=why) for name, kind in kinds.items()]
    figures = []
    for name, kind in kinds.items():
        values = [float(one[name]) for one in numbers]
        figures.append(Figure.of(name, kind, math.fsum(values) / len(values), interval=interval_of(values, kind.unit), n=len(values)))
    return figures


def reasons(scored: Scored) -> dict[str, int]:
    """Return why documents were not scored, with their number, the most frequent reason first."""
    return dict(Counter(str(one[UNSCORED]) for one in scored.each if UNSCORED in one).most_common())


def interval_of(values: Sequence[float], unit: str) -> Interval | None:
    """Return a 95 % interval for the mean over documents like these. It is None for a single document.

    The same values always have the same interval. Scores in percent that are 0 or 100 each are a proportion, for which the bootstrap would
    give an interval of no width if all are equal.
    """
    n = len(values)
    if n < 2:
        return None
    if unit == "%" and set(values) <= {0.0, 100.0}:
        low, high = _wilson(sum(values) / 100, n)
        return Interval(low=100 * low, high=100 * high, level=LEVEL, method=WILSON, n=n)
    sample = np.asarray(values, dtype=np.float64)
    drawn = np.random.default_rng(SEED)
    at_once = max(1, DRAWN_AT_ONCE // n)
    rounds = [min(at_once, RESAMPLES - done) for done in range(0, RESAMPLES, at_once)]
    means = np.concatenate([sample[drawn.integers(0, n, (count, n))].mean(axis=1) for count in rounds])
    low, high = np.percentile(means, [100 * (1 - LEVEL) / 2, 100 * (1 + LEVEL) / 2])
    return Interval(low=float(low), high=float(high), level=LEVEL, method=BOOTSTRAP, n=n)


def _wilson(successes: float, n: int) -> tuple[float, float]:
    """Return the interval for a proportion (Wilson 1927)."""
    share = successes / n
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return max(0.0, middle - half), min(1.0, middle + half)
