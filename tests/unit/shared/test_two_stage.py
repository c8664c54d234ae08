"""Tests Stein's two-stage rule on simulated jobs with a known median, compared with the rule that it replaces."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from shared.stats import interval_for_precision, median_interval_of_repeats, precision_of
from shared.two_stage import PILOT, STUDENT_T_975_OF_PILOT, repeats_wanted, two_stage_interval

JOBS = 4_000
TRUTH_MS = 10.0
SPREAD = 0.02  # the coefficient of variation between fresh processes
MONTE_CARLO_ERROR = math.sqrt(0.95 * 0.05 / JOBS)


def jobs(shape: str, repeats: int) -> NDArray[np.float64]:
    """Return the medians of `repeats` fresh processes for each simulated job. They vary around a median of `TRUTH_MS`."""
    random = np.random.default_rng([20_26, repeats])
    noise = SPREAD * random.standard_normal((JOBS, repeats))
    return TRUTH_MS * (np.exp(noise) if shape == "lognormal" else 1 + noise)


def test_the_quantile_is_students() -> None:
    assert pytest.approx(float(scipy_stats.t.ppf(0.975, PILOT - 1)), abs=1e-8) == STUDENT_T_975_OF_PILOT


@pytest.mark.parametrize("shape", ["normal", "lognormal"])
@pytest.mark.parametrize("precision", [0.01, 0.02])
@pytest.mark.parametrize("max_repeats", [20, 400])
def test_the_interval_after_the_rule_covers_the_truth_in_95_of_100_jobs(shape: str, precision: float, max_repeats: int) -> None:
    covered, widest, taken = 0, 0.0, []
    for medians in jobs(shape, max_repeats).tolist():
        wanted = repeats_wanted(medians[:PILOT], precision)
        assert wanted is not None
        n = min(wanted, max_repeats)
        interval = two_stage_interval(medians[:n])
        assert interval is not None
        covered += interval.low <= TRUTH_MS <= interval.high
        taken.append(n)
        if n == wanted:
            widest = max(widest, interval.high / math.sqrt(interval.low * interval.high) - 1)
    assert covered / JOBS >= 0.95 - 3 * MONTE_CARLO_ERROR
    assert widest <= precision * (1 + 1e-9)
    assert min(taken) >= PILOT
    # The number of repeats is not larger than needed. For a known variance (Student's t with the pilot's degrees of freedom), about this
    # many are needed.
    expected = (STUDENT_T_975_OF_PILOT * SPREAD / math.log1p(precision)) ** 2
    if max_repeats == 400:
        assert expected <= np.mean(taken) <= 1.3 * expected + 1


@pytest.mark.parametrize("precision", [0.01, 0.02])
def test_stopping_at_the_first_narrow_interval_would_cover_less(precision: float) -> None:
    """The same jobs are stopped by a rule that checks after each repeat. So this simulation would notice if the two stages were removed."""
    covered = 0
    for medians in jobs("normal", 100)[:1_000].tolist():
        for n in range(3, 101):
            interval = median_interval_of_repeats(medians[:n])
            assert interval is not None
            if (interval.high - interval.low) / 2 <= precision * TRUTH_MS:
                covered += interval.low <= TRUTH_MS <= interval.high
                break
    assert 0.7 <= covered / 1_000 <= 0.93


def test_the_figures_are_those_of_the_formula() -> None:
    """Five medians are calculated by hand: the logarithms 0, ±d, ±2d have the standard deviation d × √2.5."""
    d = 0.01
    medians = [math.exp(d * step) for step in (0, 1, -1, 2, -2)]
    reach = 2.776445105 * d * math.sqrt(2.5)
    interval = two_stage_interval(medians)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((math.exp(-reach / math.sqrt(5)), math.exp(reach / math.sqrt(5))))
    assert (interval.level, interval.n) == (0.95, 5)
    assert "Stein" in interval.method
    assert precision_of(interval) == pytest.approx(math.exp(reach / math.sqrt(5)) - 1)
    assert repeats_wanted(medians, 0.01) == math.ceil((reach / math.log(1.01)) ** 2) == 20
    assert repeats_wanted(medians, 0.5) == 5


def test_later_repeats_move_the_centre_and_never_the_width() -> None:
    pilot = [10.0, 10.1, 9.9, 10.2, 9.8]
    quiet, wild = two_stage_interval([*pilot, 10.0, 10.0]), two_stage_interval([*pilot, 20.0, 40.0])
    assert quiet is not None
    assert wild is not None
    assert quiet.high / quiet.low == pytest.approx(wild.high / wild.low)
    assert wild.low > quiet.high


def test_without_a_whole_pilot_the_number_was_fixed_and_its_own_interval_is_right() -> None:
    short = [10.0, 10.1, 9.9]
    assert repeats_wanted(short, 0.5) is None
    assert two_stage_interval(short) is None
    assert interval_for_precision(short) == median_interval_of_repeats(short)


@pytest.mark.parametrize("place", [0, 6])
def test_medians_of_zero_have_no_logarithm_and_get_order_statistics(place: int) -> None:
    medians = [1.0] * 7
    medians[place] = 0.0
    assert two_stage_interval(medians) is None
    interval = interval_for_precision(medians)
    assert interval is not None
    assert interval.method == "order statistics over repeats"


def test_a_clock_that_saw_no_time_pass_gives_no_precision() -> None:
    assert precision_of(interval_for_precision([0.0] * 7)) is None
    assert precision_of(None) is None
