"""Judges ratios of two things that were measured in turns, and prints them with their target and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from shared.stats import order_statistic_interval

REACHED, MISSED, UNDECIDED = "reached", "MISSED", "undecided"


def verdict(ratios: Sequence[float], low: float, high: float) -> str:
    """Return whether the median of the ratios lies between `low` and `high`.

    The answer is `undecided` if the 95 % interval of the median is only partly within the target, or if there are fewer than 6 ratios.
    """
    interval = order_statistic_interval(sorted(ratios), "order statistics")
    if interval is None:
        return UNDECIDED
    if low <= interval.low and interval.high <= high:
        return REACHED
    return MISSED if interval.high < low or high < interval.low else UNDECIDED


def line(what: str, ratios: Sequence[float], low: float, high: float, beside: str = "") -> str:
    """Return one line: the median of the ratios with its 95 % interval, the target and the verdict.

    Args:
        beside: what was compared, such as the best value of each side.
    """
    interval = order_statistic_interval(sorted(ratios), "order statistics")
    said = "no interval" if interval is None else f"95 % interval {interval.low:.3f} to {interval.high:.3f}"
    turns = f"{len(ratios)} turns"
    return (
        f"{what:28} ratio {median(ratios):.3f} ({said}, {turns}); target {low:g} to {high:g}: {verdict(ratios, low, high)}"
        f"{'; ' if beside else ''}{beside}"
    )
