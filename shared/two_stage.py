"""Stein's two-stage rule: how many repeats a wanted precision needs, and the interval that then really covers 95 %.

An interval that is computed for a fixed number of repeats, looked at after each repeat and kept as soon as it is narrow, covers the truth
in 80 to 91 % of jobs, because it is kept when it is narrow by luck. Stein (1945, "A two-sample test for a linear hypothesis whose power
is independent of the variance", Annals of Mathematical Statistics 16) avoids this: a pilot of fixed size gives the variance once, the
variance gives the number of repeats, and the interval around the mean of all repeats uses the variance of the pilot alone. The later
repeats move the mean but never the width, so there is nothing to be lucky with.

Everything here is computed on logarithms of the repeats' medians: times are skewed to the right, and a precision is a fraction, which on
a logarithmic scale is a fixed distance. `docs/decisions/0016-two-stages-for-a-precision.md` gives the reasons.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from shared.measurements import Interval

PILOT = 5
STUDENT_T_975_OF_PILOT = 2.776445105  # two-sided 95 % quantile of Student's t for PILOT - 1 degrees of freedom
METHOD = f"Stein's two-stage rule over repeats (pilot of {PILOT}, logarithms)"


def repeats_wanted(medians: Sequence[float], precision: float) -> int | None:
    """Returns how many repeats give the precision, judged by the pilot; at least the pilot itself.

    Args:
        medians: one median for each repeat, in the order in which they ran; only the first `PILOT` of them count.
        precision: the interval is to end at most this fraction above and below its centre.

    Returns:
        None while the pilot is not complete, or if one of its medians is zero (the clock was too coarse to see any time pass).
    """
    reach = _reach_of_one(medians)
    return None if reach is None else max(PILOT, math.ceil((reach / math.log1p(precision)) ** 2))


def two_stage_interval(medians: Sequence[float]) -> Interval | None:
    """Returns the 95 % interval on the typical repeat's median, around the geometric mean of all repeats.

    Its coverage is exact for medians whose logarithms are normal, whatever number of repeats was run, as long as that number depends on
    the repeats through the pilot's variance alone.

    Returns:
        None where `repeats_wanted` gives None, and if any later median is zero.
    """
    reach = _reach_of_one(medians)
    if reach is None or min(medians) <= 0:
        return None
    centre = math.fsum(math.log(median) for median in medians) / len(medians)
    half = reach / math.sqrt(len(medians))
    return Interval(low=math.exp(centre - half), high=math.exp(centre + half), level=0.95, method=METHOD, n=len(medians))


def _reach_of_one(medians: Sequence[float]) -> float | None:
    """Half-width, on the logarithmic scale, of an interval around a single repeat; n repeats divide it by the root of n."""
    pilot = medians[:PILOT]
    if len(pilot) < PILOT or min(pilot) <= 0:
        return None
    logs = [math.log(median) for median in pilot]
    mean = math.fsum(logs) / PILOT
    return STUDENT_T_975_OF_PILOT * math.sqrt(math.fsum((value - mean) ** 2 for value in logs) / (PILOT - 1))
