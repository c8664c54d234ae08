"""Judges ratios of two things that were measured in turns, and prints them with their target and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from shared.distributions import Interval
from shared.stats import order_statistic_interval

REACHED, MISSED, UNDECIDED = "reached", "MISSED", "undecided"
MOST_NOISE = 0.05  # if ratios of equal work may be further from 1 than this, a run decides nothing about a small effect


def verdict(ratios: Sequence[float], low: float, high: float) -> str:
    """Return whether the median of the ratios lies between `low` and `high`.

    The answer is `undecided` if the 95 % interval of the median is only partly within the target, or if there are fewer than 6 ratios.
    """
    interval = _interval(ratios)
    if interval is None:
        return UNDECIDED
    if low <= interval.low and interval.high <= high:
        return REACHED
    return MISSED if interval.high < low or high < interval.low else UNDECIDED


def verdict_beside_equal_work(ratios: Sequence[float], equal: Sequence[float]) -> str:
    """Return whether ratios are no further from 1 than ratios of equal work (A/A) from the same run.

    The bound is the end of the 95 % interval of the equal work that is further from 1. The target is missed if the whole interval of the
    ratios is beyond the bound. The answer is `undecided` if the bound itself is further from 1 than `MOST_NOISE`, or without intervals.
    """
    own, noise = _interval(ratios), _interval(equal)
    if own is None or noise is None:
        return UNDECIDED
    bound = max(abs(noise.low - 1), abs(noise.high - 1))
    if bound > MOST_NOISE:
        return UNDECIDED
    return MISSED if own.low > 1 + bound or own.high < 1 - bound else REACHED


def shown(ratios: Sequence[float]) -> str:
    """Return the median of ratios, with its 95 % interval and the number of turns."""
    interval = _interval(ratios)
    said = "no interval" if interval is None else f"95 % interval {interval.low:.3f} to {interval.high:.3f}"
    return f"{median(ratios):.3f} ({said}, {len(ratios)} turns)"


def _interval(ratios: Sequence[float]) -> Interval | None:
    return order_statistic_interval(sorted(ratios), "order statistics")


def line(what: str, ratios: Sequence[float], low: float, high: float, beside: str = "") -> str:
    """Return one line: the median of the ratios with its 95 % interval, the target and the verdict.

    Args:
        beside: what was compared, such as the best value of each side.
    """
    after = f"; {beside}" if beside else ""
    return f"{what:28} ratio {shown(ratios)}; target {low:g} to {high:g}: {verdict(ratios, low, high)}{after}"
