"""Implements Stein's two-stage rule: how many repeats a wanted precision needs, and an interval whose coverage is really 95 %.

The obvious method is to compute the interval for a fixed number of repeats, check it after each repeat, and stop when it is narrow enough.
Such an interval covers the true value in only 80 to 91 % of jobs, because it is kept when it is narrow by chance.

Stein's rule avoids this (1945, "A two-sample test for a linear hypothesis whose power is independent of the variance", Annals of
Mathematical Statistics 16). A pilot of fixed size gives the variance. The variance gives the number of repeats. The interval is centred on
the mean of all repeats, but its width uses only the variance of the pilot. Later repeats move the mean and never change the variance
estimate, so the interval cannot become narrow by chance.

All computations use the logarithms of the repeats' medians. Times are skewed to the right, and a precision is a fraction, which is a fixed
distance on a logarithmic scale. `docs/decisions/0016-two-stages-for-a-precision.md` gives the reasons.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from shared.distributions import Interval

PILOT = 5
STUDENT_T_975_OF_PILOT = 2.776445105  # the two-sided 95 % quantile of Student's t for PILOT - 1 degrees of freedom
_SMALLEST = math.ulp(0.0)
LONGEST_MS = (2**63 - 1) / 1e6  # the largest time that a sample can hold, 292 years; two scattered repeats may give a later end
METHOD = f"Stein's two-stage rule over repeats (pilot of {PILOT}, logarithms)"


def repeats_wanted(medians: Sequence[float], precision: float) -> int | None:
    """Return how many repeats the precision needs according to the pilot. It is at least `PILOT`.

    Args:
        medians: the median of each repeat, in the order in which they ran. Only the first `PILOT` count.
        precision: the greatest allowed distance from the centre of the interval to its ends, as a fraction of the centre.

    Returns:
        None while the pilot is not complete, or if one of its medians is zero (because the clock is too coarse).
    """
    reach = _reach_of_one(medians)
    return None if reach is None else max(PILOT, math.ceil((reach / math.log1p(precision)) ** 2))


def two_stage_interval(medians: Sequence[float]) -> Interval | None:
    """Return the 95 % confidence interval for the median of a typical repeat. Its centre is the geometric mean of all repeats' medians.

    The coverage is exact if the logarithms of the medians are normal, and if the number of repeats depends on the measured values only
    through the variance of the pilot.

    Returns:
        None where `repeats_wanted` gives None, and if any later median is zero.
    """
    reach = _reach_of_one(medians)
    if reach is None or min(medians) <= 0:
        return None
    centre = math.fsum(math.log(median) for median in medians) / len(medians)
    half = reach / math.sqrt(len(medians))
    return Interval(low=exp_within(centre - half), high=exp_within(centre + half), level=0.95, method=METHOD, n=len(medians))


def exp_within(logarithm: float) -> float:
    """Return the exponential of an interval's end, limited to what a time in milliseconds can be: above zero, and at most `LONGEST_MS`."""
    return LONGEST_MS if logarithm >= math.log(LONGEST_MS) else max(math.exp(logarithm), _SMALLEST)


def _reach_of_one(medians: Sequence[float]) -> float | None:
    """Return the half-width of the interval for a single repeat, on the logarithmic scale. For n repeats, divide it by the root of n.

    Return None while the pilot is not complete, or if one of its medians is zero.
    """
    pilot = medians[:PILOT]
    if len(pilot) < PILOT or min(pilot) <= 0:
        return None
    logs = [math.log(median) for median in pilot]
    mean = math.fsum(logs) / PILOT
    return STUDENT_T_975_OF_PILOT * math.sqrt(math.fsum((value - mean) ** 2 for value in logs) / (PILOT - 1))
