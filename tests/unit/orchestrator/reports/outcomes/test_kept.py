"""Tests that the page keeps the figures of exactly those jobs that its tables list, in whatever order the jobs come."""

from __future__ import annotations

import random

from orchestrator.reports.outcomes.kept import MOST_REASONS, OTHER_REASONS, KeptFigures
from orchestrator.reports.outcomes.measured import Measured
from orchestrator.reports.outcomes.ranking import rank
from shared.figures import Figure
from shared.jobs import JobStatus


def job(number: int, value: float, work: str = "w", missing: str = "too short") -> Measured:
    headline = Figure(name="a_per_s", unit="1/s", better="higher", value=value)
    other = Figure(name="b_ms", unit="ms", better="lower", missing=missing)
    return Measured(f"c-job-{number}", JobStatus.COMPLETE, "a", "pi", work, headline=headline, figures=(headline, other))


def test_the_kept_figures_are_those_of_the_first_jobs_of_the_rankings() -> None:
    shuffled = random.Random(1)
    jobs = [job(number, shuffled.choice([1.0, 2.0, 3.0]), shuffled.choice("vw")) for number in range(1, 101)]
    kept = KeptFigures(most=70)
    for one in jobs:
        kept.add(one)
    listed = [one.job_id for ranking in rank(jobs) for one in ranking.jobs]
    assert [one for one in listed if kept.of(one) is not None] == listed[:70]
    assert kept.of(listed[0]) == next(one.figures for one in jobs if one.job_id == listed[0])


def test_the_reasons_are_counted_over_all_jobs_also_over_those_that_are_not_listed() -> None:
    kept = KeptFigures(most=1)
    for number in range(1, 51):
        kept.add(job(number, float(number)))
    assert kept.missing() == [{"said": "too short", "figures": ["b_ms"], "jobs": 50}]


def test_reasons_that_are_different_for_each_job_do_not_grow_without_a_limit() -> None:
    kept = KeptFigures(most=1)
    for number in range(2 * MOST_REASONS):
        kept.add(job(number, float(number), missing=f"too short: it took {number} ns"))
    assert len(kept.missing()) == MOST_REASONS + 1
    assert kept.missing()[-1] == {"said": OTHER_REASONS, "figures": ["b_ms"], "jobs": MOST_REASONS}
