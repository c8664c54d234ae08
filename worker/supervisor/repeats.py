"""Decides how many repeats a job runs."""

from __future__ import annotations

from collections.abc import Sequence

from shared.repetition import StopRule
from shared.workloads import Workload
from worker.kinds.base import Measure, Repeat

MIN_REPEATS = 3  # These run even when the budget is spent: with two repeats the interval is 6.4 times as wide as their spread.


def most_repeats(workload: Workload) -> int:
    return workload.stop.max_repeats if workload.stop else workload.repeats


def reason_to_stop(workload: Workload, kind: Measure, repeats: Sequence[Repeat], elapsed_s: float) -> str | None:
    """Return why no further repeat is needed, or None to go on. Without a stop rule the reason is the empty string.

    With a stop rule the number of repeats is computed from the first repeats, the pilot (`shared.two_stage`). It does not depend on
    how narrow the interval is after each repeat: stopping at an interval that happens to be narrow selects the lucky ones.

    Args:
        elapsed_s: Seconds since the measuring began. Loads and warm-ups count, because the budget limits the time of the device.
    """
    rule = workload.stop
    if rule is None:
        return "" if len(repeats) >= workload.repeats else None
    from shared.stats import interval_for_precision, precision_of  # needs numpy: 15 MB of memory that an idle worker does not need
    from shared.two_stage import repeats_wanted

    n, values = len(repeats), [kind.stop_value(repeat.record) for repeat in repeats]
    wanted = repeats_wanted(values, rule.precision)
    reached = precision_of(interval_for_precision(values))
    if wanted is not None and n >= wanted:
        return f"precision reached: {_share(reached)} after {n} repeats, {_share(rule.precision)} asked"
    if n >= rule.max_repeats:
        if wanted is None and reached is not None and reached <= rule.precision:  # `max_repeats` is smaller than the pilot
            return f"precision reached: {_share(reached)} after {n} repeats, {_share(rule.precision)} asked"
        return f"repeats spent: {n} of {rule.max_repeats}" + _how_near(kind.stops_on, rule, reached, wanted)
    if elapsed_s >= rule.budget_s and n >= MIN_REPEATS:
        return f"budget spent: {elapsed_s:.0f} s of {rule.budget_s:g} s after {n} repeats" + _how_near(kind.stops_on, rule, reached, wanted)
    return None


def _how_near(what: str, rule: StopRule, reached: float | None, wanted: int | None) -> str:
    said = f"; {what} is known to {_share(reached)}, {_share(rule.precision)} was asked"
    return said + (f", which takes about {wanted} repeats" if wanted else "")


def _share(fraction: float | None) -> str:
    return "no precision" if fraction is None else f"±{fraction * 100:.3g}%"
