"""Every step of a job and of a worker, and what a loss leads to."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.domain.lifecycle import BACKOFF_LIMIT_S, GiveUp, Requeue, after_loss, check_step
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


def test_a_lost_attempt_is_followed_by_the_next_after_a_growing_pause() -> None:
    first = after_loss(attempt=1, losses=0, max_attempts=3, now=NOW, jitter=1.0, reason="SIGSEGV")
    assert first == Requeue(attempt=2, losses=1, not_before=NOW + timedelta(seconds=1))
    second = after_loss(attempt=5, losses=1, max_attempts=3, now=NOW, jitter=0.0, reason="SIGSEGV")
    assert second == Requeue(attempt=6, losses=2, not_before=NOW + timedelta(seconds=1))


def test_the_pause_has_a_limit() -> None:
    late = after_loss(attempt=40, losses=39, max_attempts=100, now=NOW, jitter=1.0, reason="")
    assert isinstance(late, Requeue)
    assert late.not_before == NOW + timedelta(seconds=BACKOFF_LIMIT_S)


def test_the_last_loss_fails_the_job_with_its_reason() -> None:
    end = after_loss(attempt=3, losses=2, max_attempts=3, now=NOW, jitter=0.5, reason="killed by SIGKILL")
    assert end == GiveUp("lost 3 times, the last: killed by SIGKILL")
