"""Defines the histograms of jobs: their names, and the upper bounds of their buckets in seconds."""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

BOUNDS = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 21_600.0, 86_400.0)
DURATION, WAIT = "duration", "wait"


class Observation(NamedTuple):
    """Holds one value of a histogram. `capability` and `status` are its labels; a wait has no status."""

    name: str
    capability: str
    status: str
    seconds: float


def bucket_of(seconds: float) -> int:
    """Return the number of the first bucket whose upper bound is not below the value. The last bucket has no bound."""
    return bisect_left(BOUNDS, seconds)
