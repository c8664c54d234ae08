"""Defines how each repeat of a job warms up, and the rule that decides how many repeats there are."""

from __future__ import annotations

from pydantic import Field

from shared.jobs import MAX_REPEATS, MAX_TIMEOUT_S
from shared.strict import Strict


class Warmup(Strict):
    """Sets the warm-up of each repeat.

    It lasts until both `min_calls` and `min_s` are reached. Except for the first call, no call starts after `max_s`.
    """

    min_calls: int = Field(default=10, ge=0, le=100_000, description="the least number of warm-up calls")
    min_s: float = Field(default=1.0, ge=0, le=3_600, description="the least time of the warm-up, in seconds")
    max_s: float = Field(
        default=30.0, ge=0, le=3_600, description="the longest time of the warm-up, in seconds; one call is made in any case"
    )


class StopRule(Strict):
    """Runs as many repeats as are needed to make the 95 % interval of the median as narrow as `precision`.

    The first five repeats determine this number (Stein's two-stage rule). `max_repeats` and `budget_s` can end the job earlier. The
    result then says which precision was reached. Three repeats run even if they take longer than `budget_s`.
    """

    precision: float = Field(gt=0, lt=1, description="the wanted half-width of the median's 95 % interval, as a fraction of the median")
    max_repeats: int = Field(default=20, ge=2, le=MAX_REPEATS, description="the most fresh processes that measure")
    budget_s: float = Field(
        default=600,
        gt=0,
        le=MAX_TIMEOUT_S,
        description="no further repeat begins after this time, in seconds; three repeats are made in any case",
    )
