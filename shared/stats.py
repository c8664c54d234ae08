"""Computes the statistics of timings. The functions are pure: they read no clock, no file and no setting.

This module needs only the standard library and numpy, because it also runs on the smallest measuring device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from shared.distributions import Distribution, Interval
from shared.measurements import RawRepeat, RepeatFacts, Summary
from shared.percentiles import PERCENTILE_FLOORS
from shared.steadiness import Floats, steadiness, steadiness_of_repeats
from shared.two_stage import METHOD, exp_within, two_stage_interval

ORDER_STATISTICS_FROM = 6  # with fewer repeats, the smallest and the largest value cover the median in less than 95 %
STUDENT_METHOD = "student-t over repeats (logarithms)"
# These are the two-sided 95 % quantiles of Student's t for 1 to 4 degrees of freedom, which are 2 to 5 repeats.
STUDENT_T_975 = {1: 12.706204736, 2: 4.302652730, 3: 3.182446305, 4: 2.776445105}
STANDARD_NORMAL_975 = 1.959963985
NORMAL_APPROXIMATION_FROM = 1_000


def percentile(sorted_values: Floats, rank: float) -> float:
    """Return a percentile, by linear interpolation between the closest ranks (numpy's default, type 7 of Hyndman and Fan)."""
    return float(np.percentile(sorted_values, rank, method="linear"))


def median_interval_of_repeats(values: Sequence[float]) -> Interval | None:
    """Return a 95 % confidence interval for the value of a typical repeat. The number of repeats must have been fixed beforehand.

    The values are times or rates of fresh processes: positive numbers. From 6 values on, the interval comes from order statistics: it is
    the narrowest symmetric pair with a coverage of at least 95 % (96.9 % for 6). This is exact for every distribution. With 2 to 5 values,
    it is Student's t interval of their logarithms, which assumes that the logarithms are roughly normal. Its ends are positive, as times
    are. On the times themselves, Student's t would give ends of zero and below.

    The result is None for fewer than 2 values, because one process says nothing about the spread between processes. It is also None for 2
    to 5 values of which one is zero, because zero has no logarithm. `why_no_interval` gives the reason in words.
    """
    n = len(values)
    if n >= ORDER_STATISTICS_FROM:
        return order_statistic_interval(sorted(values), "order statistics over repeats")
    if n < 2 or min(values) <= 0:
        return None
    logs = [math.log(value) for value in values]
    mean = math.fsum(logs) / n
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in logs) / (n - 1))
    half = STUDENT_T_975[n - 1] * spread / math.sqrt(n)
    # Rounding may move the ends of equal values past them by a millionth of a millionth.
    low, high = min(exp_within(mean - half), max(values)), max(exp_within(mean + half), min(values))
    return Interval(low=low, high=high, level=0.95, method=STUDENT_METHOD, n=n)


def why_no_interval(values: Sequence[float]) -> str:
    """Return why `median_interval_of_repeats` gives no interval for these values; empty if it gives one."""
    if len(values) < 2:
        return f"needs 2 repeats, has {len(values)}"
    if len(values) < ORDER_STATISTICS_FROM and min(values) <= 0:
        return f"needs {ORDER_STATISTICS_FROM} repeats if the clock is too coarse to see a repeat take any time, has {len(values)}"
    return ""


def order_statistic_interval(ordered: Sequence[float] | Floats, method: str) -> Interval | None:
    """Return the interval from the k-th smallest to the k-th largest value, with the largest k that still covers the median with 95 %.

    Its coverage is 1 - 2 P(Binomial(n, 1/2) < k) for any continuous distribution. This is the `level` of the interval. With fewer than 6
    values the result is None, because even the smallest and the largest value cover less than 95 %. For more than 1 000 values, k comes
    from the normal approximation without continuity correction, so the interval is rather too wide than too narrow.
    """
    n = len(ordered)
    if n > NORMAL_APPROXIMATION_FROM:
        k = math.floor((n - STANDARD_NORMAL_975 * math.sqrt(n)) / 2)
        return Interval(low=float(ordered[k - 1]), high=float(ordered[n - k]), level=0.95, method=method, n=n)
    below, term, k = 0.0, 0.5**n, 0
    while below + term <= 0.025:
        below += term
        term = term * (n - k) / (k + 1)
        k += 1
    if k == 0:
        return None
    return Interval(low=float(ordered[k - 1]), high=float(ordered[n - k]), level=1 - 2 * below, method=method, n=n)


def tukey_outliers(ordered: Floats) -> int:
    """Return the number of values that are more than 1.5 interquartile ranges outside the quartiles (Tukey 1977)."""
    low, high = np.percentile(ordered, [25, 75])
    fence = 1.5 * (high - low)
    return int(np.count_nonzero((ordered < low - fence) | (ordered > high + fence)))


def describe(values_ms: Sequence[float] | Floats, repeat_medians_ms: Sequence[float] = ()) -> Distribution:
    """Summarise one pooled sample (milliseconds, in order of measurement).

    Args:
        values_ms: the raw samples of all repeats together. Percentiles are computed from these and never averaged over repeats.
        repeat_medians_ms: the median of each fresh process, for the interval; empty if the sample has no repeats.

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
    if reason := why_no_interval(repeat_medians_ms):
        missing["median_ci"] = reason
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
        median_ci_within=order_statistic_interval(ordered, "order statistics within the pooled sample"),
        **figures,
    )


def interval_for_precision(medians: Sequence[float]) -> Interval | None:
    """Return the confidence interval of a job with a stop rule.

    It is the two-stage interval if the pilot is complete. Otherwise it is the interval for a fixed number of repeats. That one is correct
    then, because the job ended due to its time or its `max_repeats`, never because an interval was narrow. It is also used if a median is
    zero, which has no logarithm; order statistics need none.
    """
    return two_stage_interval(medians) or median_interval_of_repeats(medians)


def precision_of(interval: Interval | None) -> float | None:
    """Return the distance from the centre of an interval to its upper end, as a fraction of the centre.

    Return None if there is no interval, or if its upper end is not above zero.
    """
    if interval is None or interval.high <= 0:
        return None
    on_logarithms = interval.method in (METHOD, STUDENT_METHOD) and interval.low > 0
    centre = math.sqrt(interval.low) * math.sqrt(interval.high) if on_logarithms else interval.low / 2 + interval.high / 2
    return interval.high / centre - 1


def summarise(
    repeats: Sequence[RawRepeat], extra_loads_ns: Sequence[int] = (), stopped_because: str = "", precision: float | None = None
) -> Summary:
    """Compute the summary of a job from its raw samples.

    Args:
        repeats: at least one repeat, each with at least one inference.
        extra_loads_ns: the load times of the processes that only loaded the model, in nanoseconds.
        stopped_because: why a job with a stop rule ended.
        precision: the precision that the stop rule asks for; None if the job ran a fixed number of repeats.
    """
    loads_ms = [repeat.load_ns / 1e6 for repeat in repeats] + [load / 1e6 for load in extra_loads_ns]
    series = [np.asarray(repeat.inference_ns, dtype=np.float64) / 1e6 for repeat in repeats]
    facts = [_repeat_facts(repeat, values) for repeat, values in zip(repeats, series, strict=True)]
    wall_s = sum(repeat.inference_wall_ns or sum(repeat.inference_ns) for repeat in repeats) / 1e9
    cpu = [repeat.cpu_percent for repeat in repeats if repeat.cpu_percent is not None]
    medians = [fact.median_ms for fact in facts]
    inference = describe(np.concatenate(series), medians)
    if precision is not None:
        inference = inference.model_copy(update={"median_ci": interval_for_precision(medians)})
    return Summary(
        load=describe(loads_ms, loads_ms),
        inference=inference,
        repeats=facts,
        load_peak_mb=_largest([repeat.load_peak_mb for repeat in repeats]),
        inference_peak_mb=_largest([repeat.inference_peak_mb for repeat in repeats]),
        memory_method=repeats[0].memory_method,
        throughput_per_s=sum(len(repeat.inference_ns) for repeat in repeats) / wall_s if wall_s else None,
        cpu_percent=math.fsum(cpu) / len(cpu) if cpu else None,
        steadiness=steadiness_of_repeats([fact.steadiness for fact in facts]),
        stopped_because=stopped_because,
        precision_asked=precision,
        precision_reached=None if precision is None else precision_of(inference.median_ci),
    )


def _repeat_facts(repeat: RawRepeat, values_ms: Floats) -> RepeatFacts:
    return RepeatFacts(
        index=repeat.index,
        load_ms=repeat.load_ns / 1e6,
        median_ms=float(np.median(values_ms)),
        min_ms=float(np.min(values_ms)),
        max_ms=float(np.max(values_ms)),
        warmups=len(repeat.warmup_ns),
        inferences=len(repeat.inference_ns),
        steadiness=steadiness(values_ms),
        load_peak_mb=repeat.load_peak_mb,
        inference_peak_mb=repeat.inference_peak_mb,
        baseline_mb=repeat.baseline_mb,
        cpu_percent=repeat.cpu_percent,
        started_at=repeat.started_at,
        throughput_per_s=_per_second(repeat),
    )


def _per_second(repeat: RawRepeat) -> float | None:
    """Return the inferences per second of one repeat, or None if its clock saw no time pass."""
    wall_ns = repeat.inference_wall_ns or sum(repeat.inference_ns)
    return len(repeat.inference_ns) / wall_ns * 1e9 if wall_ns else None


def _largest(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return max(known) if known else None
