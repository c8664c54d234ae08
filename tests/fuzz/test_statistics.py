"""Tests the statistics with extreme samples: for finite input, every result is finite or missing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from shared import stats
from shared.distributions import Distribution
from shared.measurements import RawRepeat
from shared.percentiles import PERCENTILE_FLOORS
from shared.steadiness import STEADY_MIN_SAMPLES, Floats, mser5_cut, rank_sum_score, spearman, steadiness
from tests.fuzz.budget import tried

SMALLEST_MS = 1e-100  # the square of a much smaller number is rounded to zero, and so its half may count as another shape
LONGEST_NS = 2**63 - 1  # the largest value of a sample file, 292 years
MILLISECONDS = st.floats(0, LONGEST_NS / 1e6) | st.sampled_from([0.0, 5e-324, 1e-300, 1.0, LONGEST_NS / 1e6])
SAMPLES = arrays(np.float64, st.integers(1, 300), elements=MILLISECONDS, fill=MILLISECONDS)
NANOSECONDS = st.integers(0, LONGEST_NS) | st.sampled_from([0, 1, LONGEST_NS])
REPEATS = st.lists(
    st.builds(
        RawRepeat,
        index=st.integers(0, 1000),
        load_ns=NANOSECONDS,
        warmup_ns=st.lists(NANOSECONDS, max_size=3),
        inference_ns=st.lists(NANOSECONDS, min_size=1, max_size=80),
        inference_wall_ns=NANOSECONDS,
        cpu_percent=st.none() | st.floats(0, 1e6),
    ),
    min_size=1,
    max_size=8,
)


def assert_finite(content: Any) -> None:
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, list):
        for one in content:
            assert_finite(one)
    elif isinstance(content, float):
        assert math.isfinite(content)


@tried(100)
@given(SAMPLES)
def test_a_summary_of_finite_timings_is_finite_and_in_order(values: Floats) -> None:
    found = stats.describe(values)
    assert_finite(found.model_dump())
    between = [found.min, *(getattr(found, name) for name in PERCENTILE_FLOORS), found.max]
    known = [one for one in between if one is not None]
    assert known == sorted(known)
    assert found.min <= found.median <= found.max
    slack = 1e-12 * found.max
    assert found.min - slack <= found.mean <= found.max + slack


ORDERLESS = ("n", "median", "min", "max", "missing", "outliers", "median_ci_within", *PERCENTILE_FLOORS)


@tried(100)
@given(SAMPLES, st.randoms(use_true_random=False))
def test_the_order_of_the_timings_changes_nothing_but_the_first(values: Floats, random: Any) -> None:
    mixed = list(values)
    random.shuffle(mixed)
    one, other = stats.describe(values), stats.describe(mixed)
    assert {name: getattr(one, name) for name in ORDERLESS} == {name: getattr(other, name) for name in ORDERLESS}
    assert one.mean == pytest.approx(other.mean, rel=1e-9)
    if one.stddev is not None:
        assert one.stddev == pytest.approx(other.stddev, rel=1e-6, abs=1e-9 * one.max)


@tried(100)
@given(st.lists(MILLISECONDS, max_size=30))
def test_an_interval_over_repeats_is_finite_and_holds_their_middle(medians: list[float]) -> None:
    interval = stats.median_interval_of_repeats(medians)
    if len(medians) < 2 or (len(medians) < 6 and min(medians) <= 0):
        assert interval is None
        assert stats.why_no_interval(medians)
        return
    assert interval is not None
    assert stats.why_no_interval(medians) == ""
    assert_finite(interval.model_dump())
    assert interval.low <= interval.high
    assert interval.low * (1 - 1e-12) <= np.median(medians) <= interval.high * (1 + 1e-12)
    assert interval.level >= 0.95


@tried(100)
@given(REPEATS, st.lists(NANOSECONDS, max_size=4))
def test_any_raw_samples_have_a_summary_that_json_can_carry(repeats: list[RawRepeat], loads: list[int]) -> None:
    found = stats.summarise(repeats, loads)
    assert_finite(found.model_dump())
    assert type(found).model_validate_json(found.model_dump_json()) == found
    assert isinstance(found.inference, Distribution)


@tried(100)
@given(SAMPLES, SAMPLES)
def test_the_verdict_on_a_series_is_that_of_its_shape_and_not_of_its_unit(first: Floats, rest: Floats) -> None:
    series = np.concatenate([first, rest])
    assert (steadiness(series) == "unknown") == (series.size < STEADY_MIN_SAMPLES)
    series = np.where(series < SMALLEST_MS, 0.0, series)
    assert steadiness(series * 0.5) == steadiness(series)  # half of each number is exact in binary, so nothing is rounded
    assert steadiness(np.repeat(first[:1], 60)) == "steady"
    assert steadiness(np.linspace(1.0, 2.0, 60) * (1 + first[0])) == "not steady"
    assert -1 - 1e-9 <= spearman(first) <= 1 + 1e-9
    assert math.isfinite(rank_sum_score(first, rest))
    assert 0 <= mser5_cut(first) <= first.size / 2 + 5
