"""Repeats: what one says, and how many: exactly so many, or until the interval on the median is narrow enough."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from shared.measurements import RawRepeat
from shared.workloads import Workload
from worker.runner.request import Record

MIN_REPEATS = 3  # an interval over two processes is 6.4 times as wide as their spread: it stops nothing


def most_repeats(workload: Workload) -> int:
    return workload.stop.max_repeats if workload.stop else workload.repeats


def reason_to_stop(workload: Workload, repeats: Sequence[RawRepeat], elapsed_s: float) -> str | None:
    """Why no further repeat is wanted; None to go on. Without a stop rule the reason is the empty string.

    Args:
        elapsed_s: since the measuring began, loads and warm-ups included: the budget is of the device's time.
    """
    if workload.stop is None:
        return "" if len(repeats) >= workload.repeats else None
    from shared.stats import median_interval_of_repeats, relative_half_width

    if len(repeats) >= min(MIN_REPEATS, workload.stop.max_repeats):
        medians = [median(repeat.inference_ns) for repeat in repeats]
        width = relative_half_width(median_interval_of_repeats(medians), median(medians))
        if width is not None and width <= workload.stop.precision:
            return f"precision reached: ±{width:.2%} after {len(repeats)} repeats"
        if elapsed_s >= workload.stop.budget_s:
            return f"budget spent: {elapsed_s:.0f} s of {workload.stop.budget_s:g} s after {len(repeats)} repeats"
    if len(repeats) >= workload.stop.max_repeats:
        return f"repeats spent: {len(repeats)} of {workload.stop.max_repeats}"
    return None


def as_repeat(record: Record, index: int) -> RawRepeat:
    """What a measured process recorded, as a result says it."""
    return RawRepeat(
        index=index,
        load_ns=record.load_ns,
        warmup_ns=record.warmup_ns,
        inference_ns=record.inference_ns,
        inference_wall_ns=record.inference_wall_ns,
        load_peak_mb=record.load_peak_mb,
        inference_peak_mb=record.inference_peak_mb,
        baseline_mb=record.baseline_mb,
        memory_method=record.memory_method,
        cpu_percent=record.cpu_percent,
        runtime=record.runtime,
    )
