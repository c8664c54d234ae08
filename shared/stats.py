"""Pure statistics of timings. Numbers in, numbers out; nothing here reads a clock, a file or a setting.

Only the standard library and numpy: this module runs on the smallest device that measures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shared.measurements import PERCENTILE_FLOORS, Distribution, Interval, RawRepeat, RepeatFacts, Summary

Floats = NDArray[np.float64]
Steadiness = Literal["steady", "not steady", "unknown"]

# Two-sided 95 % quantiles of Student's t for 1..4 degrees of freedom: 2 to 5 repeats. From 6 repeats on, order
# statistics need no assumption about the shape of the distribution.
STUDENT_T_975 = {1: 12.706204736, 2: 4.302652730, 3: 3.182446305, 4: 2.776445105}
STEADY_MIN_SAMPLES = 50
STEADY_BATCHES = 10
# |rho| over 10 batch means above which a trend has p < 0.05 (the exact two-sided critical value is 0.648).
TREND_RHO = 0.65


def percentile(sorted_values: Floats, rank: float) -> float:
    """Percentile by linear interpolation between closest ranks (numpy's default, Hyndman and Fan's type 7)."""
    return float(np.percentile(sorted_values, rank, method="linear"))


def median_interval_of_repeats(values: Sequence[float]) -> Interval | None:
    """95 % interval on the typical repeat's median, from one value a fresh process.

    From 6 values: order statistics of the median, exact and distribution-free; the narrowest symmetric pair that
    keeps at least 95 %. Below: Student's t around their mean, which assumes they are roughly normal. One value
    gives none: a single process says nothing of the spread between processes.
    """
    n = len(values)
    if n < 2:
        return None
    if n < 6:
        mean = math.fsum(values) / n
        spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
        half = STUDENT_T_975[n - 1] * spread / math.sqrt(n)
        return Interval(low=mean - half, high=mean + half, level=0.95, method="student-t over repeats", n=n)
    return _order_statistic_interval(sorted(values), "order statistics over repeats")


def _order_statistic_interval(ordered: Sequence[float], method: str) -> Interval | None:
    """Widest-ranked pair (k-th smallest, k-th largest) with coverage 1 - 2 P(Binomial(n, 1/2) < k) of at least 95 %."""
    n = len(ordered)
    below, term, k = 0.0, 0.5**n if n <= 1000 else 0.0, 0
    if n > 1000:  # the exact sum underflows; the normal approximation is good to a rank here
        k = math.floor((n - 1.959964 * math.sqrt(n)) / 2)
        return Interval(low=ordered[k - 1], high=ordered[n - k], level=0.95, method=method, n=n)
    while below + term <= 0.025:
        below += term
        term = term * (n - k) / (k + 1)
        k += 1
    if k == 0:
        return None
    return Interval(low=ordered[k - 1], high=ordered[n - k], level=1 - 2 * below, method=method, n=n)


def tukey_outliers(ordered: Floats) -> int:
    """How many values lie beyond 1.5 interquartile ranges from the quartiles (Tukey 1977)."""
    low, high = np.percentile(ordered, [25, 75])
    fence = 1.5 * (high - low)
    return int(np.count_nonzero((ordered < low - fence) | (ordered > high + fence)))


def describe(values_ms: Sequence[float] | Floats, repeat_medians_ms: Sequence[float] = ()) -> Distribution:
    """Summarise one pooled sample (milliseconds, in order of measurement).

    Args:
        values_ms: the raw samples of all repeats, merged; percentiles are never averaged.
        repeat_medians_ms: one median a fresh process, for the interval; empty when there is no such grouping.

    Raises:
        ValueError: the sample is empty.
    """
    values = np.asarray(values_ms, dtype=np.float64)
    if values.size == 0:
        raise ValueError("an empty sample has no summary")
    ordered = np.sort(values)
    n = int(values.size)
    figures: dict[str, float | None] = {}
    missing: dict[str, str] = {}
    for name, (rank, floor) in PERCENTILE_FLOORS.items():
        if n >= floor:
            figures[name] = percentile(ordered, rank)
        else:
            figures[name] = None
            missing[name] = f"needs {floor} samples, has {n}"
    if len(repeat_medians_ms) < 2:
        missing["median_ci"] = f"needs 2 repeats, has {len(repeat_medians_ms)}"
    return Distribution(
        n=n,
        median=percentile(ordered, 50.0),
        mean=float(values.mean()),
        stddev=float(values.std(ddof=1)) if n > 1 else None,
        min=float(ordered[0]),
        max=float(ordered[-1]),
        first=float(values[0]),
        missing=missing,
        outliers=tukey_outliers(ordered),
        median_ci=median_interval_of_repeats(list(repeat_medians_ms)),
        median_ci_within=_order_statistic_interval(ordered.tolist(), "order statistics within the pooled sample"),
        **figures,
    )


def mser5_cut(values: Floats) -> int:
    """Index at which the warm-up of a series ends by MSER-5 (White 1997): batches of 5, smallest marginal standard error.

    Truncation is looked for in the first half only, as the method's authors advise. 0 means steady from the start.
    """
    batches = values[: values.size // 5 * 5].reshape(-1, 5).mean(axis=1)
    best, best_error = 0, math.inf
    for cut in range(batches.size // 2 + 1):
        rest = batches[cut:]
        error = float(((rest - rest.mean()) ** 2).sum()) / rest.size**2
        if error < best_error:
            best, best_error = cut, error
    return best * 5


def spearman(values: Floats) -> float:
    """Spearman's rank correlation of a series with time. Ties get their mean rank; a constant series gives 0."""
    n = values.size
    ranks = np.empty(n)
    ranks[np.argsort(values, kind="stable")] = np.arange(1, n + 1, dtype=np.float64)
    for value in np.unique(values):
        same = values == value
        ranks[same] = ranks[same].mean()
    time = np.arange(1, n + 1, dtype=np.float64)
    ranks, time = ranks - ranks.mean(), time - time.mean()
    scale = math.sqrt(float((ranks**2).sum()) * float((time**2).sum()))
    return float((ranks * time).sum()) / scale if scale else 0.0


def steadiness(values_ms: Sequence[float] | Floats) -> Steadiness:
    """A verdict on a series of timings, never a cut.

    `not steady` when MSER-5 would drop more than a tenth of it, or when 10 batch means show a trend. Below 50
    samples nothing can be said.
    """
    values = np.asarray(values_ms, dtype=np.float64)
    if values.size < STEADY_MIN_SAMPLES:
        return "unknown"
    means = np.array([batch.mean() for batch in np.array_split(values, STEADY_BATCHES)])
    if abs(spearman(means)) > TREND_RHO:
        return "not steady"
    return "not steady" if mser5_cut(values) > values.size / 10 else "steady"


def relative_half_width(interval: Interval | None, median: float) -> float | None:
    """Half-width of an interval as a fraction of the median; null without an interval."""
    if interval is None or median <= 0:
        return None
    return (interval.high - interval.low) / 2 / median


def summarise(repeats: Sequence[RawRepeat], extra_loads_ns: Sequence[int] = (), stopped_because: str = "") -> Summary:
    """Derive everything that is reported from the raw samples of one job.

    Args:
        repeats: at least one, each with at least one inference.
        extra_loads_ns: load times of the processes that only loaded, in nanoseconds.
    """
    loads_ms = [repeat.load_ns / 1e6 for repeat in repeats] + [load / 1e6 for load in extra_loads_ns]
    series = [np.asarray(repeat.inference_ns, dtype=np.float64) / 1e6 for repeat in repeats]
    facts = [_repeat_facts(repeat, values) for repeat, values in zip(repeats, series, strict=True)]
    verdicts = {fact.steadiness for fact in facts}
    wall_s = sum(repeat.inference_wall_ns or sum(repeat.inference_ns) for repeat in repeats) / 1e9
    cpu = [repeat.cpu_percent for repeat in repeats if repeat.cpu_percent is not None]
    return Summary(
        load=describe(loads_ms, loads_ms),
        inference=describe(np.concatenate(series), [fact.median_ms for fact in facts]),
        repeats=facts,
        load_peak_mb=_largest([repeat.load_peak_mb for repeat in repeats]),
        inference_peak_mb=_largest([repeat.inference_peak_mb for repeat in repeats]),
        memory_method=repeats[0].memory_method,
        throughput_per_s=sum(len(repeat.inference_ns) for repeat in repeats) / wall_s,
        cpu_percent=math.fsum(cpu) / len(cpu) if cpu else None,
        steadiness="not steady" if "not steady" in verdicts else "unknown" if "unknown" in verdicts else "steady",
        stopped_because=stopped_because,
    )


def _repeat_facts(repeat: RawRepeat, values_ms: Floats) -> RepeatFacts:
    return RepeatFacts(
        index=repeat.index,
        load_ms=repeat.load_ns / 1e6,
        median_ms=float(np.median(values_ms)),
        min_ms=float(values_ms.min()),
        max_ms=float(values_ms.max()),
        warmups=len(repeat.warmup_ns),
        inferences=len(repeat.inference_ns),
        steadiness=steadiness(values_ms),
        load_peak_mb=repeat.load_peak_mb,
        inference_peak_mb=repeat.inference_peak_mb,
        baseline_mb=repeat.baseline_mb,
        cpu_percent=repeat.cpu_percent,
    )


def _largest(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return max(known) if known else None
