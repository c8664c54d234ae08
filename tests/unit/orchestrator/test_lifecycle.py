"""Tests every step of a job and of a worker, and the consequences of a loss."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from orchestrator.domain.lifecycle import BACKOFF_LIMIT_S, STORY_LIMIT, Setback, check_step, next_try, story
from shared.errors import IllegalTransition
from shared.jobs import TERMINAL, JobStatus
from shared.workers import WorkerStatus, may_become

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ALLOWED = {
    ("pending", "running"),
    ("pending", "complete"),
    ("pending", "failed"),
    ("pending", "cancelled"),
    ("running", "pending"),
    ("running", "complete"),
    ("running", "failed"),
    ("running", "cancelled"),
}
WORKER_STEPS = {
    ("active", "busy"),
    ("busy", "cleanup"),
    ("cleanup", "active"),
    ("active", "faulty"),
    ("busy", "faulty"),
    ("cleanup", "faulty"),
    ("faulty", "active"),
    ("active", "gone"),
    ("busy", "gone"),
    ("cleanup", "gone"),
    ("faulty", "gone"),
}


@pytest.mark.parametrize(("seen", "wanted"), list(itertools.product(JobStatus, JobStatus)))
def test_a_job_takes_the_steps_of_the_table_and_no_other(seen: JobStatus, wanted: JobStatus) -> None:
    if (seen, wanted) in ALLOWED:
        check_step("job", seen, wanted)
    else:
        with pytest.raises(IllegalTransition, match=f"is {seen}; it cannot become {wanted}"):
            check_step("job", seen, wanted)


def test_a_terminal_state_is_never_left() -> None:
    assert {seen for seen, _ in ALLOWED}.isdisjoint(TERMINAL)


@pytest.mark.parametrize(("seen", "wanted"), list(itertools.product(WorkerStatus, WorkerStatus)))
def test_a_worker_takes_the_steps_of_the_table_and_no_other(seen: WorkerStatus, wanted: WorkerStatus) -> None:
    assert may_become(seen, wanted) == (seen == wanted or (seen, wanted) in WORKER_STEPS)


def test_a_setback_is_followed_by_the_next_try_after_a_growing_pause() -> None:
    ask = partial(next_try, max_attempts=3, now=NOW)
    assert ask(losses=1, deaths=0, jitter=1.0) == NOW + timedelta(seconds=1)
    assert ask(losses=1, deaths=1, jitter=1.0) == NOW + timedelta(seconds=2)
    assert ask(losses=2, deaths=2, jitter=0.0) == NOW + timedelta(seconds=4), "spread over the upper half of 8 s"


def test_the_pause_has_a_limit() -> None:
    assert next_try(losses=0, deaths=40, max_attempts=100, now=NOW, jitter=1.0) == NOW + timedelta(seconds=BACKOFF_LIMIT_S)


@pytest.mark.parametrize("max_attempts", [1, 3, 10])
def test_deaths_of_the_process_count_to_the_attempts_a_job_allows_and_lost_workers_do_not(max_attempts: int) -> None:
    ask = partial(next_try, max_attempts=max_attempts, now=NOW, jitter=0.5)
    assert ask(losses=2, deaths=max_attempts - 1) is not None
    assert ask(losses=0, deaths=max_attempts) is None
    assert ask(losses=3, deaths=0) is None, "three workers are enough"


def test_the_story_names_each_attempt_its_worker_and_how_it_ended() -> None:
    setbacks = [
        Setback(1, "worker-a (pi) fell silent", "worker-a"),
        Setback(2, "killed by SIGSEGV", "worker-b"),
        Setback(4, "worker-c is not registered any more"),
    ]
    assert story("given up", setbacks) == (
        "given up: attempt 1: worker-a (pi) fell silent; attempt 2 on worker-b: killed by SIGSEGV; "
        "attempt 4: worker-c is not registered any more"
    )


def test_a_long_story_keeps_its_end_and_fits_into_a_result() -> None:
    long = [Setback(number, "x" * 50_000, "worker-a") for number in range(1, 4)]
    assert len(story("given up", long)) == STORY_LIMIT
    told = story("given up", [Setback(1, "x" * 50_000), Setback(2, "the last words")])
    assert told.endswith("attempt 2: the last words")
