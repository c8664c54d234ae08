"""Which steps a job may take, and what becomes of one whose attempt ended badly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from orchestrator.domain.stored import timeout_of
from shared.errors import DeviceFailed, HostBusy, IllegalTransition, RunnerDied
from shared.jobs import TRANSITIONS, JobStatus

BACKOFF_BASE_S = 1.0
BACKOFF_LIMIT_S = 60.0
WORKERS_LOST_LIMIT = 3  # a job that took so many workers with it is poison, whatever it allows: it harms no fourth
# Failures that say nothing of the model: a timeout or an error of it on a healthy worker is the answer.
HANDED_BACK_LIMIT = 100  # a job that no worker keeps has to end some day
HANDED_BACK_FREELY = 3  # times after which it goes out at once: a fleet that is brought down for an update
RETRIED_KINDS = frozenset({RunnerDied.kind, DeviceFailed.kind, HostBusy.kind})
STORY_LIMIT = 20_000  # characters; a result's error holds no more
TOLD_LIMIT = 1_000  # characters of each setback but the last, which is told whole


@dataclass(frozen=True)
class Setback:
    """An attempt that ended badly: lost with its worker, or a proven death of the measured process, or a failure of its device."""

    attempt: int
    what: str
    worker_id: str | None = None


def check_step(job_id: str, seen: str, wanted: JobStatus) -> None:
    """
    Raises:
        IllegalTransition: the table of states has no such step.
    """
    if wanted not in TRANSITIONS[JobStatus(seen)]:
        raise IllegalTransition(f"job {job_id} is {seen}; it cannot become {wanted}")


def deadline(now: datetime, workload: Mapping[str, Any], grace_s: float) -> datetime:
    """When a job that begins now is given up: its own timeout, and grace for what its worker does not count into that."""
    return now + timedelta(seconds=timeout_of(workload) + grace_s)


def next_try(*, losses: int, deaths: int, max_attempts: int, now: datetime, jitter: float) -> datetime | None:
    """When a job may be tried again after a setback; None when it has failed for good.

    Args:
        losses: attempts lost with their worker, this one included. What was handed back does not count.
        deaths: proven deaths of the measured process, or failures of the device, on a worker that lived, this one included.
        max_attempts: how many such deaths the job allows. A lost worker proves nothing about the job, so it is not counted in.
        jitter: uniform in 0..1; the backoff doubles with each setback and is spread over its upper half.
    """
    if losses >= WORKERS_LOST_LIMIT or deaths >= max_attempts:
        return None
    backoff = min(BACKOFF_LIMIT_S, BACKOFF_BASE_S * 2 ** (losses + deaths - 1)) * (0.5 + jitter / 2)
    return now + timedelta(seconds=backoff)


def next_try_of_handed_back(times: int, now: datetime) -> datetime | None:
    """When a job that its worker gave back unharmed may go out again; None when that has happened too often.

    Args:
        times: it was handed back, this one included.
    """
    if times >= HANDED_BACK_LIMIT:
        return None
    backoff = 0.0 if times <= HANDED_BACK_FREELY else min(BACKOFF_LIMIT_S, BACKOFF_BASE_S * 2 ** min(times - HANDED_BACK_FREELY - 1, 10))
    return now + timedelta(seconds=backoff)


def story(verdict: str, setbacks: Sequence[Setback]) -> str:
    """Why a job has failed for good: each attempt that ended badly, on which worker, and how."""
    *earlier, last = setbacks
    told = [_told(setback, setback.what[:TOLD_LIMIT]) for setback in earlier] + [_told(last, last.what)]
    return f"{verdict}: {'; '.join(told)}"[:STORY_LIMIT]


def _told(setback: Setback, what: str) -> str:
    where = f" on {setback.worker_id}" if setback.worker_id and setback.worker_id not in what else ""
    return f"attempt {setback.attempt}{where}: {what}"
