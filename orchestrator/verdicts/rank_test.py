"""Compares two samples by their ranks: an exact test of equality, an interval for their ratio, and a correction for many tests.

The values are one number per repeat (a fresh process), because processes of the same code differ by more than the inferences within one.
Ranks assume no shape of the distribution. With the few repeats of a job all permutations can be counted, so the test is exact.

Sources: Mann and Whitney 1947 (the test); Lehmann 1963 and Hollander and Wolfe, "Nonparametric Statistical Methods", chapter 4 (the
interval is the inverse of the test); Hochberg 1988, "A sharper Bonferroni procedure for multiple tests of significance", Biometrika 75.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from shared.steadiness import ranks

# the number of values in both samples together; counting their permutations takes milliseconds, and above it the normal curve is close
EXACT_UP_TO = 60


@dataclass(frozen=True, slots=True)
class RatioInterval:
    """Holds an interval for the ratio of two samples. `confidence` is what it really covers, and is at least what was asked for."""

    low: float
    high: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Tails:
    """Holds the probabilities, if both samples come from one distribution, of a rank sum at least as extreme as the observed one.

    Attributes:
        larger: that the second sample is at least as far above the first one.
        smaller: that it is at least as far below.
    """

    larger: float
    smaller: float

    @property
    def two_sided(self) -> float:
        return min(1.0, 2 * min(self.larger, self.smaller))


def rank_sum_tails(first: Sequence[float], second: Sequence[float]) -> Tails:
    """Return the tails of the Mann-Whitney test. Up to `EXACT_UP_TO` values they are exact, also with ties.

    Raises:
        ValueError: a sample is empty.
    """
    if not first or not second:
        raise ValueError("an empty sample has no ranks")
    doubled = np.rint(2 * ranks(np.asarray([*first, *second], dtype=np.float64))).astype(np.int64)  # ties have half ranks
    observed = int(doubled[len(first) :].sum())
    if doubled.size > EXACT_UP_TO:
        return _normal_tails(doubled / 2, len(first), observed / 2)
    counts = _subsets_by_sum(tuple(np.sort(doubled).tolist()), len(second))
    total = float(counts.sum())
    return Tails(larger=float(counts[observed:].sum()) / total, smaller=float(counts[: observed + 1].sum()) / total)


@lru_cache(maxsize=64)  # without ties, all pairs with the same numbers of repeats have the same ranks
def _subsets_by_sum(numbers: tuple[int, ...], size: int) -> NDArray[np.float64]:
    """Return how many subsets of `size` of these numbers have each sum. Counts are floats; all are exact below 2^53, and then rounded."""
    counts = np.zeros((size + 1, sum(numbers) + 1))
    counts[0, 0] = 1
    for number in numbers:
        counts[1:, number:] += counts[:-1, : counts.shape[1] - number]
    found: NDArray[np.float64] = counts[size]
    return found


def _normal_tails(both: NDArray[np.float64], n: int, rank_sum: float) -> Tails:
    """Return the tails by the normal approximation, corrected for ties and by half a rank for continuity."""
    total = both.size
    m = total - n
    _, tied = np.unique(both, return_counts=True)
    ties = float((tied.astype(np.float64) ** 3 - tied).sum()) / (total * (total - 1))
    deviation = math.sqrt(n * m / 12 * (total + 1 - ties))
    above = rank_sum - m * (total + 1) / 2
    if deviation == 0:
        return Tails(1.0, 1.0)
    curve = NormalDist(0, deviation)
    return Tails(larger=min(1.0, curve.cdf(0.5 - above)), smaller=min(1.0, curve.cdf(above + 0.5)))


def ratio_interval(first: Sequence[float], second: Sequence[float], level: float) -> RatioInterval | None:
    """Return an interval for how many times as large the second sample is. It misses on each side with at most half of `level`.

    It lies between two of the ordered ratios of all pairs of values, as the test of equality would no longer reject a factor between
    them. So it assumes that the two distributions differ by a factor alone. With too few values for the level, it is None.

    Args:
        first: positive values.
        second: positive values.
        level: the probability, such as 0.05, with which the interval may miss.
    """
    n, m = len(first), len(second)
    cut, missed = _cut(n, m, level)
    if cut == 0:
        return None
    ratios = np.sort(np.divide.outer(np.asarray(second, dtype=np.float64), np.asarray(first, dtype=np.float64)).ravel())
    return RatioInterval(low=float(ratios[cut - 1]), high=float(ratios[n * m - cut]), confidence=1 - 2 * missed)


@cache
def _cut(n: int, m: int, level: float) -> tuple[int, float]:
    """Return which of the ordered ratios bounds the interval, counted from 1, and the probability that it misses on that side."""
    if n + m > EXACT_UP_TO:
        score = NormalDist().inv_cdf(1 - level / 2)
        return max(0, math.floor(n * m / 2 - score * math.sqrt(n * m * (n + m + 1) / 12))), level / 2
    counts = _subsets_by_sum(tuple(range(1, n + m + 1)), m)[m * (m + 1) // 2 :]
    below = np.cumsum(counts) / counts.sum()
    cut = int(np.count_nonzero(below <= level / 2 + 1e-12))
    return cut, float(below[cut - 1]) if cut else 0.0


def least_p(n: int, m: int) -> float:
    """Return the smallest two-sided p that samples of these sizes can give: when no value of one lies within the other."""
    return min(1.0, 2 / math.comb(n + m, n))


def repeats_for(level: float) -> int:
    """Return the smallest number of repeats, the same on both sides, with which p can be below `level`."""
    n = 2
    while least_p(n, n) >= level:
        n += 1
    return n


def hochberg(values: Sequence[float]) -> list[float]:
    """Return p values corrected for the number of tests, in the same order.

    If all that are at most the level are called significant, the probability of one false call among all tests is at most the level. This
    holds for tests that are independent or positively dependent. It finds at least what Holm's procedure finds, and finds a change that
    all tests share even when so many tests are made that no single one could be significant.
    """
    adjusted = [0.0] * len(values)
    least = 1.0
    for place, index in enumerate(sorted(range(len(values)), key=lambda one: -values[one]), start=1):
        least = min(least, place * values[index])
        adjusted[index] = least
    return adjusted
