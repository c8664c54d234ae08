"""Compares the tests of steadiness with scipy, with their definitions, and with series of known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from shared.steadiness import Floats, Steadiness, mser5_cut, rank_sum_score, ranks, spearman, steadiness, steadiness_of_repeats

TIMINGS = arrays(np.float64, st.integers(2, 60), elements=st.floats(0.001, 1e6))


@given(TIMINGS)
@settings(max_examples=50, deadline=None)
def test_ranks_are_scipys_also_with_ties(values: Floats) -> None:
    rounded = np.round(values)
    np.testing.assert_allclose(ranks(rounded), stats.rankdata(rounded))


@given(TIMINGS)
@settings(max_examples=50, deadline=None)
def test_spearman_is_scipys(values: Floats) -> None:
    rounded = np.round(values)
    expected = 0.0 if np.ptp(rounded) == 0 else float(stats.spearmanr(rounded, np.arange(rounded.size)).statistic)
    assert spearman(rounded) == pytest.approx(expected, abs=1e-9)


@given(TIMINGS, TIMINGS)
@settings(max_examples=50, deadline=None)
def test_the_rank_sum_score_is_that_of_scipys_mann_whitney(first: Floats, rest: Floats) -> None:
    first, rest = np.round(first), np.round(rest)
    score = rank_sum_score(first, rest)
    if np.ptp(np.concatenate([first, rest])) == 0:
        assert score == 0
    else:
        expected = stats.mannwhitneyu(first, rest, method="asymptotic", use_continuity=False)
        assert math.erfc(abs(score) / math.sqrt(2)) == pytest.approx(float(expected.pvalue), rel=1e-6, abs=1e-12)


def test_mser5_cuts_where_the_series_settles() -> None:
    random = np.random.default_rng(3)
    settled = random.normal(10, 0.1, 200)
    settled[:40] += 5
    assert mser5_cut(settled) == 40
    assert mser5_cut(np.full(50, 7.0)) == 0
    assert mser5_cut(np.ones(3)) == 0


def test_mser5_is_that_of_its_definition() -> None:
    """The slow form of White (1997) is the truth. The product's form uses running sums."""
    values = np.random.default_rng(8).lognormal(sigma=0.5, size=103)
    batches = values[:100].reshape(-1, 5).mean(axis=1)
    errors = [float(np.var(batches[cut:]) / batches[cut:].size) for cut in range(11)]
    assert mser5_cut(values) == 5 * int(np.argmin(errors))


@pytest.mark.parametrize("n", [50, 100, 1000])
def test_a_steady_series_is_called_steady_nineteen_times_in_twenty(n: int) -> None:
    random = np.random.default_rng(n)
    alarms = sum(steadiness(random.lognormal(2, 0.1, n)) != "steady" for _ in range(600))
    assert alarms / 600 < 0.05 + 4 * math.sqrt(0.05 * 0.95 / 600)


@pytest.mark.parametrize("shape", ["warm-up", "step", "drift"])
def test_a_series_that_moves_is_called_not_steady(shape: str) -> None:
    random = np.random.default_rng(11)
    time = np.arange(200)
    move = {"warm-up": 5 * np.exp(-time / 15), "step": 2.0 * (time < 60), "drift": time / 200}[shape]
    found = sum(steadiness(random.normal(10, 0.3, 200) + move) == "not steady" for _ in range(100))
    assert found >= 95


def test_too_few_samples_say_nothing_of_steadiness() -> None:
    assert steadiness(list(range(49))) == "unknown"
    assert steadiness(list(range(50))) == "not steady"


@pytest.mark.parametrize(
    ("alarms", "repeats", "verdict"),
    [
        (0, 5, "steady"),
        (1, 5, "steady"),
        (2, 5, "not steady"),
        (1, 1, "not steady"),
        (1, 3, "steady"),
        (2, 3, "not steady"),
        (3, 20, "steady"),
    ],
)
def test_a_job_is_not_steady_when_chance_does_not_explain_its_repeats(alarms: int, repeats: int, verdict: str) -> None:
    moved: list[Steadiness] = ["not steady"] * alarms
    still: list[Steadiness] = ["steady"] * (repeats - alarms)
    assert steadiness_of_repeats(moved + still) == verdict
