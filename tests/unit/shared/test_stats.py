"""Compares the statistics with scipy, with published tables, and with samples of known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from shared import stats
from shared.measurements import RawRepeat
from shared.percentiles import PERCENTILE_FLOORS
from shared.steadiness import steadiness
from shared.two_stage import LONGEST_MS


def repeats_of(*medians_ms: float, inferences: int = 3) -> list[RawRepeat]:
    return [RawRepeat(index, 1_000_000, [], [int(median * 1e6)] * inferences) for index, median in enumerate(medians_ms)]


@pytest.mark.parametrize("degrees", [1, 2, 3, 4])
def test_the_student_quantiles_are_right(degrees: int) -> None:
    assert stats.STUDENT_T_975[degrees] == pytest.approx(float(scipy_stats.t.ppf(0.975, degrees)), abs=1e-8)


@pytest.mark.parametrize("n", [6, 7, 8, 10, 20, 50, 200, 1000, 1001, 5000])
def test_the_median_interval_has_the_exact_level_it_states(n: int) -> None:
    interval = stats.describe(np.arange(n, dtype=np.float64)).median_ci_within
    assert interval is not None
    rank = int(interval.low) + 1  # the values are 0..n-1, so a value is its rank minus one
    assert interval.high == n - rank
    exact = 1 - 2 * float(scipy_stats.binom.cdf(rank - 1, n, 0.5))
    narrower = 1 - 2 * float(scipy_stats.binom.cdf(rank, n, 0.5))
    if n <= stats.NORMAL_APPROXIMATION_FROM:
        assert interval.level == pytest.approx(exact, abs=1e-12)
        assert exact >= 0.95 > narrower  # this is the narrowest interval that still has 95 %
    else:
        assert interval.level == 0.95
        assert 0.95 <= exact < 0.958


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 9])
@pytest.mark.parametrize("shape", ["normal, 3 %", "lognormal, 3 %", "lognormal, 40 %"])
def test_intervals_over_repeats_cover_the_truth_as_often_as_they_say(n: int, shape: str) -> None:
    """The medians of the processes vary by a known amount around a known 10 ms."""
    random = np.random.default_rng(n)
    trials, covered, level = 4000, 0, 0.0
    kind, _, spread = shape.partition(", ")
    noise = float(spread.rstrip(" %")) / 100 * random.standard_normal((trials, n))
    for values in 10.0 * (np.exp(noise) if kind == "lognormal" else 1 + noise):
        interval = stats.median_interval_of_repeats(values.tolist())
        assert interval is not None
        covered += interval.low <= 10.0 <= interval.high
        level = interval.level
    assert level == pytest.approx(0.95 if n < 6 else 1 - 2 * 0.5**n * (1 if n == 6 else 1 + n))
    error = math.sqrt(level * (1 - level) / trials)
    assert abs(covered / trials - level) < 4 * error


@pytest.mark.parametrize("n", [6, 9])
def test_from_six_repeats_on_the_shape_of_the_distribution_does_not_matter(n: int) -> None:
    """Four of five processes are fast, and every fifth is up to ten times as slow.

    The logarithms of these times are not normally distributed.
    """
    random = np.random.default_rng(n)
    trials = 4000
    values = 10.0 + random.random((trials, n)) * np.where(random.random((trials, n)) < 0.2, 90.0, 1.0)
    truth = 10.0 + 0.5 / (0.8 + 0.2 / 90)  # half of the probability lies below: (0.8 + 0.2 / 90) x = 0.5
    intervals = [stats.median_interval_of_repeats(row.tolist()) for row in values]
    covered = sum(one is not None and one.low <= truth <= one.high for one in intervals) / trials
    level = 1 - 2 * 0.5**n * (1 if n == 6 else 1 + n)
    assert abs(covered - level) < 4 * math.sqrt(level * (1 - level) / trials)


def test_the_interval_of_few_repeats_is_students_of_their_logarithms() -> None:
    values = [10.0, 11.0, 9.5]
    interval = stats.median_interval_of_repeats(values)
    assert interval is not None
    expected = scipy_stats.t.interval(0.95, 2, np.log(values).mean(), scipy_stats.sem(np.log(values)))
    assert (interval.low, interval.high) == pytest.approx(tuple(np.exp(expected)))
    assert (interval.method, interval.n, interval.level) == ("student-t over repeats (logarithms)", 3, 0.95)


def test_the_interval_within_the_pooled_sample_understates_the_truth_between_processes() -> None:
    """This is why the process is the unit of replication: the same samples are compared with and without their groups."""
    random = np.random.default_rng(5)
    hits = {"over repeats": 0, "within": 0}
    for _ in range(200):
        series = [random.normal(random.normal(10.0, 0.5), 0.2, 100) for _ in range(6)]
        summary = stats.summarise([RawRepeat(index, 1, [], (values * 1e6).astype(int).tolist()) for index, values in enumerate(series)])
        over, within = summary.inference.median_ci, summary.inference.median_ci_within
        assert over is not None
        assert within is not None
        hits["over repeats"] += over.low <= 10.0 <= over.high
        hits["within"] += within.low <= 10.0 <= within.high
    assert hits["over repeats"] >= 0.93 * 200
    assert hits["within"] <= 0.5 * 200


def test_one_repeat_gives_no_interval_and_says_why() -> None:
    inference = stats.summarise(repeats_of(2.0)).inference
    assert inference.median_ci is None
    assert inference.missing["median_ci"] == "needs 2 repeats, has 1"


def test_few_repeats_of_which_one_took_no_time_give_no_interval_and_say_why() -> None:
    inference = stats.summarise(repeats_of(2.0, 0.0, 2.0)).inference
    assert inference.median_ci is None
    assert inference.missing["median_ci"].startswith("needs 6 repeats if the clock is too coarse")
    assert stats.summarise(repeats_of(*[2.0] * 5, 0.0)).inference.median_ci is not None


@pytest.mark.parametrize("name", list(PERCENTILE_FLOORS))
def test_a_percentile_appears_at_its_floor_and_not_one_sample_earlier(name: str) -> None:
    rank, floor = PERCENTILE_FLOORS[name]
    values = np.random.default_rng(1).lognormal(size=floor)
    enough, short = stats.describe(values), stats.describe(values[:-1])
    assert getattr(enough, name) == pytest.approx(float(np.percentile(values, rank)))
    assert name not in enough.missing
    assert getattr(short, name) is None
    assert short.missing[name] == f"needs {floor} samples, has {floor - 1}"


def test_the_floors_are_those_of_mlperf() -> None:
    assert {name: floor for name, (_, floor) in PERCENTILE_FLOORS.items()} == {
        "p75": 24,
        "p90": 64,
        "p95": 130,
        "p97": 219,
        "p99": 662,
        "p999": 6636,
    }


def test_outliers_are_counted_and_stay_in_the_sample() -> None:
    values = [10.0, 10.1, 10.2, 10.1, 10.0, 10.2, 10.1, 50.0, 0.1]
    described = stats.describe(values)
    assert described.outliers == 2
    assert (described.n, described.max, described.min, described.first) == (9, 50.0, 0.1, 10.0)


def test_a_sample_of_one_has_no_spread() -> None:
    described = stats.describe([3.0])
    assert (described.median, described.stddev) == (3.0, None)


def test_an_empty_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        stats.describe([])


def test_percentiles_come_from_merged_samples_and_not_from_averages() -> None:
    """The two repeats have different tails, so the p90 of all samples differs from the mean of the two p90."""
    low, high = np.full(100, 1.0), np.linspace(1.0, 100.0, 100)
    repeats = [RawRepeat(0, 1, [], (low * 1e6).astype(int).tolist()), RawRepeat(1, 1, [], (high * 1e6).astype(int).tolist())]
    merged = float(np.percentile(np.concatenate([low, high]), 90))
    assert stats.summarise(repeats).inference.p90 == pytest.approx(merged, rel=1e-6)
    assert merged != pytest.approx((np.percentile(low, 90) + np.percentile(high, 90)) / 2, rel=0.1)


def test_a_summary_takes_loads_from_all_processes_and_the_largest_peak() -> None:
    repeats = [
        RawRepeat(0, 9_000_000, [5], [2_000_000, 4_000_000], 6_500_000, 100.0, 120.0, 30.0, "VmHWM", 150.0),
        RawRepeat(1, 5_000_000, [5, 6], [3_000_000, 3_000_000], 6_500_000, 101.0, 119.0, 30.0, "VmHWM", 50.0),
    ]
    summary = stats.summarise(repeats, [4_000_000], "precision reached")
    assert (summary.load.first, summary.load.n, summary.load.median) == (9.0, 3, 5.0)
    assert (summary.load_peak_mb, summary.inference_peak_mb, summary.memory_method) == (101.0, 120.0, "VmHWM")
    assert summary.throughput_per_s == pytest.approx(4 / 0.013)
    assert summary.cpu_percent == pytest.approx(100.0)
    assert [repeat.warmups for repeat in summary.repeats] == [1, 2]
    assert summary.stopped_because == "precision reached"


def test_a_job_with_a_stop_rule_carries_the_two_stage_interval_and_how_near_it_came() -> None:
    medians = [10.0, 10.1, 9.9, 10.2, 9.8, 10.0]
    plain, with_rule = stats.summarise(repeats_of(*medians)), stats.summarise(repeats_of(*medians), precision=0.02)
    assert plain.inference.median_ci is not None
    assert (plain.inference.median_ci.method, plain.precision_asked, plain.precision_reached) == (
        "order statistics over repeats",
        None,
        None,
    )
    interval = with_rule.inference.median_ci
    assert interval is not None
    assert interval.method.startswith("Stein's two-stage rule")
    logs = np.log(medians)
    half = scipy_stats.t.ppf(0.975, 4) * logs[:5].std(ddof=1) / math.sqrt(6)
    assert (interval.low, interval.high) == pytest.approx((math.exp(logs.mean() - half), math.exp(logs.mean() + half)))
    assert with_rule.precision_asked == 0.02
    assert with_rule.precision_reached == pytest.approx(math.expm1(half))


def test_a_million_samples_are_summarised() -> None:
    """The test would not end in time if any step were quadratic."""
    values = np.random.default_rng(0).lognormal(size=1_000_000)
    assert steadiness(values) == "steady"
    assert steadiness(np.sort(values)) == "not steady"
    assert stats.describe(values).p999 is not None


@pytest.mark.parametrize("values", [[1.0, 2.0, 40.0], [42.4, 24.0, 71.0], [0.000001, 3_600_000.0], [5.0, 5.0]])
def test_no_end_of_an_interval_is_what_a_time_cannot_be(values: list[float]) -> None:
    """The ends of an interval of times are positive.

    Intervals over the times themselves, without logarithms, had a lower end of 0 for the first two cases. Loads use the same function.
    """
    summary = stats.summarise([RawRepeat(index, int(ms * 1e6), [], [int(ms * 1e6)] * 3) for index, ms in enumerate(values)])
    for interval in (summary.inference.median_ci, summary.load.median_ci):
        assert interval is not None
        assert 0 < interval.low <= min(values)
        assert max(values) <= interval.high <= LONGEST_MS


def test_each_repeat_has_the_throughput_of_its_own_timed_phase() -> None:
    repeats = [RawRepeat(0, 1, [], [2_000_000] * 4, 10_000_000), RawRepeat(1, 1, [], [2_000_000] * 4)]
    summary = stats.summarise(repeats)
    assert [repeat.throughput_per_s for repeat in summary.repeats] == pytest.approx([400.0, 500.0])
    assert summary.throughput_per_s == pytest.approx(8 / 0.018)


def test_a_clock_that_saw_no_time_pass_gives_no_throughput() -> None:
    assert stats.summarise([RawRepeat(0, 0, [], [0, 0])]).throughput_per_s is None
