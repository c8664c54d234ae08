"""Says whether a series of timings is steady: without a trend, and without a warm-up at its begin. The functions are pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Steadiness = Literal["steady", "not steady", "unknown"]

STEADY_MIN_SAMPLES = 50
STEADY_BATCHES = 10
# A series has a trend (p < 0.05) if |rho| of its 10 batch means is above this. The exact two-sided critical value is 0.648.
TREND_RHO = 0.65
# The part that MSER-5 would cut must differ from the rest by this many standard scores. Without this condition, MSER-5 would cut a tenth
# or more of every third steady series of 50 samples (every fifth of 100). With it, the two tests together call 1 in 20 steady series "not
# steady".
CUT_SCORE = 3.0
FALSE_ALARM = 0.05


def mser5_cut(values: Floats) -> int:
    """Return the index at which the warm-up of a series ends according to MSER-5 (White 1997).

    MSER-5 takes means of batches of 5 and cuts where the marginal standard error of the rest is smallest. It searches only the first
    half, as its authors recommend. 0 means that the series is steady from the start.
    """
    batches = values[: values.size // 5 * 5].reshape(-1, 5).mean(axis=1)
    if batches.size == 0:
        return 0
    centred = batches - batches.mean()  # otherwise the difference of two large sums would lose precision
    left = np.arange(batches.size, 0, -1, dtype=np.float64)  # the number of batches that remain after a cut at each position
    sums, squares = np.cumsum(centred[::-1])[::-1], np.cumsum((centred**2)[::-1])[::-1]
    errors = (squares - sums**2 / left) / left**2
    return int(np.argmin(errors[: batches.size // 2 + 1])) * 5


def ranks(values: Floats) -> Floats:
    """Return the rank of each value, counted from 1. Equal values get their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts).astype(np.float64)
    mean_rank: Floats = last - (counts - 1) / 2
    return mean_rank[inverse]


def spearman(values: Floats) -> float:
    """Return Spearman's rank correlation between a series and time. It is 0 for a constant series."""
    of_values = ranks(values)
    time = np.arange(1, values.size + 1, dtype=np.float64)
    of_values, time = of_values - of_values.mean(), time - time.mean()
    scale = math.sqrt(float((of_values**2).sum()) * float((time**2).sum()))
    return float((of_values * time).sum()) / scale if scale else 0.0


def rank_sum_score(first: Floats, rest: Floats) -> float:
    """Return the standard score of the Mann-Whitney U statistic of two samples (normal approximation, corrected for ties)."""
    both = ranks(np.concatenate([first, rest]))
    n, m = first.size, rest.size
    total = n + m
    u = float(both[:n].sum()) - n * (n + 1) / 2
    _, counts = np.unique(both, return_counts=True)
    ties = float((counts.astype(np.float64) ** 3 - counts).sum()) / (total * (total - 1))
    variance = n * m / 12 * (total + 1 - ties)
    return (u - n * m / 2) / math.sqrt(variance) if variance > 0 else 0.0


def steadiness(values_ms: Sequence[float] | Floats) -> Steadiness:
    """Return whether a series of timings is steady. No samples are removed.

    The verdict is `not steady` if the 10 batch means show a trend. It is also `not steady` if MSER-5 would cut more than a tenth of the
    series and the cut part differs significantly from the rest. It is `unknown` for fewer than 50 samples.
    """
    values = np.asarray(values_ms, dtype=np.float64)
    if values.size < STEADY_MIN_SAMPLES:
        return "unknown"
    means = np.array([batch.mean() for batch in np.array_split(values, STEADY_BATCHES)])
    if abs(spearman(means)) > TREND_RHO:
        return "not steady"
    cut = mser5_cut(values)
    unsettled = cut > values.size / 10 and abs(rank_sum_score(values[:cut], values[cut:])) > CUT_SCORE
    return "not steady" if unsettled else "steady"


def steadiness_of_repeats(verdicts: Sequence[Steadiness]) -> Steadiness:
    """Return the verdict on a job: `not steady` if more repeats are not steady than false alarms of the tests can explain.

    With five steady repeats, at least one false alarm occurs in 23 % of all jobs, and at least two occur in 2 %.
    """
    if "unknown" in verdicts:
        return "unknown"
    n, alarms = len(verdicts), sum(verdict == "not steady" for verdict in verdicts)
    by_chance = math.fsum(math.comb(n, k) * FALSE_ALARM**k * (1 - FALSE_ALARM) ** (n - k) for k in range(alarms, n + 1))
    return "not steady" if alarms and by_chance <= FALSE_ALARM + 1e-12 else "steady"
