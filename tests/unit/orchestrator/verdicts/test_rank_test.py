"""Tests the rank test, the interval and the correction, against scipy and against samples whose truth is known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from orchestrator.verdicts.rank_test import hochberg, least_p, rank_sum_tails, ratio_interval, repeats_for


@pytest.mark.parametrize(("n", "m"), [(1, 1), (3, 5), (6, 6), (5, 6), (10, 12), (30, 30)])
def test_the_tails_without_ties_are_those_of_scipy(n: int, m: int) -> None:
    generator = np.random.default_rng(n * 100 + m)
    for shift in (-1.0, 0.0, 0.5, 2.0):
        first, second = generator.normal(size=n).tolist(), (generator.normal(size=m) + shift).tolist()
        tails = rank_sum_tails(first, second)
        assert tails.larger == pytest.approx(stats.mannwhitneyu(second, first, method="exact", alternative="greater").pvalue)
        assert tails.smaller == pytest.approx(stats.mannwhitneyu(second, first, method="exact", alternative="less").pvalue)
        assert tails.two_sided == pytest.approx(stats.mannwhitneyu(second, first, method="exact").pvalue)


def test_the_tails_with_ties_count_every_permutation() -> None:
    first, second = [1.0, 1.0, 2.0, 3.0], [2.0, 2.0, 3.0, 5.0, 6.0]
    ranked = stats.rankdata([*first, *second])
    sums = [sum(ranked[list(chosen)]) for chosen in itertools.combinations(range(9), 5)]
    observed = sum(ranked[4:])
    tails = rank_sum_tails(first, second)
    assert tails.larger == pytest.approx(sum(one >= observed for one in sums) / len(sums))
    assert tails.smaller == pytest.approx(sum(one <= observed for one in sums) / len(sums))


def test_equal_values_are_no_difference() -> None:
    assert rank_sum_tails([7.0] * 6, [7.0] * 6).two_sided == 1.0
    assert rank_sum_tails([7.0] * 40, [7.0] * 40).two_sided == 1.0
    interval = ratio_interval([7.0] * 6, [7.0] * 6, 0.05)
    assert interval is not None
    assert (interval.low, interval.high) == (1.0, 1.0)


def test_large_samples_use_the_normal_curve_as_scipy_does() -> None:
    generator = np.random.default_rng(3)
    first, second = np.round(generator.normal(size=40), 1).tolist(), np.round(generator.normal(size=45) + 0.4, 1).tolist()
    expected = stats.mannwhitneyu(second, first, method="asymptotic", alternative="greater").pvalue
    assert rank_sum_tails(first, second).larger == pytest.approx(expected)


def test_an_empty_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        rank_sum_tails([], [1.0])


@pytest.mark.parametrize(("n", "m", "place", "confidence"), [(6, 6, 6, 0.9589), (5, 6, 4, 0.9697), (5, 5, 3, 0.9683), (4, 4, 1, 0.9714)])
def test_the_interval_ends_where_published_tables_say(n: int, m: int, place: int, confidence: float) -> None:
    """The critical values of Mann-Whitney's U (5 %, two-sided) are 5, 3, 2 and 0 for these sizes. The interval begins one ratio later."""
    generator = np.random.default_rng(5)
    first, second = np.exp(generator.normal(size=n)), np.exp(generator.normal(size=m))
    ratios = sorted(float(b / a) for a in first for b in second)
    interval = ratio_interval(first.tolist(), second.tolist(), 0.05)
    assert interval is not None
    assert interval.low == pytest.approx(ratios[place - 1])
    assert interval.high == pytest.approx(ratios[-place])
    assert interval.confidence == pytest.approx(confidence, abs=1e-4)


def test_too_few_values_for_the_level_give_no_interval() -> None:
    assert ratio_interval([1.0] * 3, [2.0] * 3, 0.05) is None
    assert ratio_interval([1.0] * 3, [2.0] * 3, 0.2) is not None
    assert ratio_interval([1.0], [2.0], 0.2) is None


@pytest.mark.parametrize(
    "draw", [lambda g, n: g.normal(0, 0.02, n), lambda g, n: g.standard_t(2, n) * 0.01, lambda g, n: g.exponential(0.02, n)]
)
def test_the_interval_covers_the_true_ratio_as_often_as_it_says(draw: object) -> None:
    """The true ratio of these 2 000 pairs of samples is 1.07. They come from a normal, a heavy-tailed and a skewed distribution."""
    generator = np.random.default_rng(11)
    hits, confidence = 0, 0.0
    for _ in range(2_000):
        first, second = (np.exp(draw(generator, 6)) for _ in range(2))  # type: ignore[operator]
        interval = ratio_interval(first.tolist(), (1.07 * second).tolist(), 0.05)
        assert interval is not None
        hits += interval.low <= 1.07 <= interval.high
        confidence = interval.confidence
    error = math.sqrt(confidence * (1 - confidence) / 2_000)
    assert abs(hits / 2_000 - confidence) < 3.3 * error


def test_the_smallest_p_is_that_of_separated_samples() -> None:
    assert least_p(6, 6) == pytest.approx(2 / 924)
    assert rank_sum_tails([1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]).two_sided == pytest.approx(2 / 924)
    assert (repeats_for(0.05), repeats_for(0.01), repeats_for(0.001)) == (4, 5, 7)


def test_a_level_that_the_smallest_p_only_reaches_needs_one_repeat_more() -> None:
    assert least_p(3, 3) == pytest.approx(0.1)
    assert repeats_for(0.1) == 4


def test_the_correction_is_that_of_hochberg() -> None:
    assert hochberg([]) == []
    assert hochberg([0.03]) == [0.03]
    assert hochberg([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.04, 0.04, 0.02])
    assert hochberg([0.002] * 30) == pytest.approx([0.002] * 30), "a change that all share is found, however many they are"


def test_the_correction_keeps_the_false_calls_of_a_family_below_the_level() -> None:
    generator = np.random.default_rng(17)
    false_calls = sum(min(hochberg(generator.uniform(size=20).tolist())) < 0.05 for _ in range(4_000))
    assert false_calls / 4_000 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 4_000)
