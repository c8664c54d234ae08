"""Computes one figure for several jobs of the same work, over all their repeats."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shared.figures import Figure
from shared.stats import median_interval_of_repeats


def joined_figure(figures: Sequence[Figure]) -> Figure:
    """Return the median over the repeats of all these jobs, with its interval. It is null if a job lacks the value of a repeat."""
    if not all(one.repeats for one in figures):
        return unjoined(figures)
    repeats = tuple(value for one in figures for value in one.repeats)
    interval = median_interval_of_repeats(repeats) if min(repeats) >= 0 else None  # an interval of rates and times, as they have no sign
    return figures[0].model_copy(
        update={"value": float(np.median(repeats)), "interval": interval, "n": sum(one.n for one in figures), "repeats": repeats}
    )


def largest_figure(figures: Sequence[Figure]) -> Figure:
    """Return the largest of these values: the peak of several jobs is the largest of theirs, as that of a job is of its repeats."""
    return max(figures, key=lambda one: one.value or 0.0).model_copy(update={"interval": None})


def unjoined(figures: Sequence[Figure]) -> Figure:
    """Return a figure without a value, which says why there is none."""
    missing = f"{len(figures)} jobs meet here, and this figure cannot be computed for several jobs together"
    return figures[0].model_copy(update={"value": None, "interval": None, "repeats": (), "missing": missing})
