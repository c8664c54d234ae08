"""Tests that jobs of a kind are ranked by their headline figure, in the better direction, and that chance names no winner."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.reports.outcomes.measured import Measured
from orchestrator.reports.outcomes.ranking import Ranking, rank
from shared.distributions import Interval
from shared.figures import Better, Figure
from shared.jobs import JobStatus


def job(number: int, value: float | None, spread: float = 0.1, *, better: Better = "higher", where: str = "", work: str = "w") -> Measured:
    ends = Interval(low=value - spread, high=value + spread, level=0.95, method="t", n=6) if value is not None and spread else None
    headline = None if value is None else Figure(name="triad_gb_per_s", unit="GB/s", better=better, value=value, interval=ends)
    return Measured(f"c-job-{number}", JobStatus.COMPLETE, "triad", where or f"pi-{number} · hardware.cpu", work, headline=headline)


def only(*jobs: Measured) -> Ranking:
    (ranking,) = rank(jobs)
    return ranking


def test_the_largest_is_best_where_more_is_better_and_the_smallest_where_less_is() -> None:
    more, less = only(job(1, 5.0), job(2, 9.0)), only(job(1, 5.0, better="lower"), job(2, 9.0, better="lower"))
    assert more.verdict == ("pi-2 · hardware.cpu is best (triad_gb_per_s 9 GB/s); the next is pi-1 · hardware.cpu (5 GB/s)")
    assert less.verdict.startswith("pi-1 · hardware.cpu is best")
    assert [one.job_id for one in more.jobs] == ["c-job-2", "c-job-1"]


def test_overlapping_intervals_name_no_winner() -> None:
    assert only(job(1, 5.0, 0.5), job(2, 5.4, 0.5)).verdict == (
        "pi-2 · hardware.cpu came first (triad_gb_per_s 5.4 GB/s), but cannot be told apart from pi-1 · hardware.cpu"
    )


def test_a_device_that_was_measured_twice_is_as_good_as_its_worse_job() -> None:
    jobs = [job(1, 9.0, where="pi · cpu"), job(2, 5.0, 1.0, where="pi · cpu"), job(3, 5.5, 0.1, where="nuc · cpu")]
    assert "cannot be told apart from nuc · cpu" in only(*jobs).verdict


def test_without_an_interval_no_winner_is_named() -> None:
    assert only(job(1, 5.0, 0), job(2, 9.0)).verdict.endswith("pi-1 · hardware.cpu has no interval, so no winner is named")


def test_one_job_is_no_comparison() -> None:
    assert only(job(1, 5.0)).verdict == "only pi-1 · hardware.cpu measured it: triad_gb_per_s 5 GB/s, 95 % interval 4.9 – 5.1"


def test_different_work_has_titles_of_its_own_and_is_not_compared() -> None:
    rankings = rank([job(1, 5.0, work="one"), job(2, 9.0, work="other"), job(3, None)])
    assert [(one.work, len(one.jobs)) for one in rankings] == [("triad · no. 1", 1), ("triad · no. 2", 1)]


@pytest.mark.parametrize("value", [0.0, -3.0])
def test_a_value_that_is_not_above_zero_is_ranked_too(value: float) -> None:
    assert only(job(1, value), job(2, 9.0)).jobs[0].job_id == "c-job-2"


def test_different_figures_of_the_same_work_are_never_ranked_against_each_other() -> None:
    """A CPU's headline may be the latency of memory in ns, and a GPU's that of a kernel launch in us: 95 against 4 says nothing."""
    cpu, gpu = job(1, 95.0, better="lower"), job(2, 4.0, better="lower")
    launch = Figure(name="kernel_launch_us", unit="us", better="lower", value=4.0, interval=gpu.headline.interval if gpu.headline else None)
    rankings = rank([cpu, replace(gpu, headline=launch)])
    assert [one.work for one in rankings] == ["triad · by triad_gb_per_s", "triad · by kernel_launch_us"]
    assert [one.verdict.split(":")[0] for one in rankings] == [f"only {one.where} measured it" for one in (cpu, gpu)]


def test_equal_names_with_different_units_are_never_ranked_against_each_other() -> None:
    fast, slow = job(1, 0.005, 0.001, better="lower"), job(2, 4.0, better="lower")
    assert fast.headline is not None
    assert len(rank([replace(fast, headline=fast.headline.model_copy(update={"unit": "s"})), slow])) == 2


def test_a_result_that_cannot_win_is_never_the_best() -> None:
    """The rate of a service whose client was the limit says how fast the client is."""
    fast, slow = replace(job(1, 9.0), cannot_win="client-bound and wins nothing"), job(2, 5.0)
    assert only(fast, slow).verdict == (
        "only pi-2 · hardware.cpu measured it: triad_gb_per_s 5 GB/s, 95 % interval 4.9 – 5.1; "
        "1 of these 2 results is client-bound and wins nothing"
    )
    assert [one.job_id for one in only(fast, slow).jobs] == ["c-job-2", "c-job-1"]
    assert only(fast).verdict == "no winner is named; the only result is client-bound and wins nothing"
