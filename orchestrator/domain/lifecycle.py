"""Decides which status may follow another, and what happens to a job whose attempt ended badly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.errors import DeviceFailed, HostBusy, IllegalTransition, RunnerDied
from shared.jobs import TRANSITIONS, JobStatus

BACKOFF_BASE_S = 1.0
BACKOFF_LIMIT_S = 60.0
WORKERS_LOST_LIMIT = 3  # a job that was lost with so many workers may be what kills them, so it fails, whatever its `max_attempts`
HANDED_BACK_LIMIT = 100  # a job that no worker keeps must fail at some time
# a job that was handed back is sent at once up to this number of times, because workers that are stopped for an update hand jobs back
HANDED_BACK_FREELY = 3
# These failures say nothing about the model. A timeout or an error of the model on a healthy worker is a result, and is not retried.
RETRIED_KINDS = frozenset({RunnerDied.kind, DeviceFailed.kind, HostBusy.kind})
STORY_LIMIT = 20_000  # the number of characters; a result's error has the same limit
TOLD_LIMIT = 1_000  # the most characters of each setback except the last, which is not cut


@dataclass(frozen=True)
class Setback:
    """Describes an attempt that ended badly: its worker was lost, the measured process died, or the device failed."""

    attempt: int
    what: str
    worker_id: str | None = None


def check_step(job_id: str, seen: str, wanted: JobStatus) -> None:
    """Check that a job with the status `seen` may get the status `wanted`.

    Raises:
        IllegalTransition: the table of states does not allow this step.
    """
    if wanted not in TRANSITIONS[JobStatus(seen)]:
        raise IllegalTransition(f"job {job_id} is {seen}; it cannot become {wanted}")


def deadline(now: datetime, timeout_s: float, grace_s: float, block_timeout_s: float | None = None) -> datetime:
    """Return the deadline of a job that begins now: its timeout, plus a grace for the time that its worker does not count as the job's.

    Args:
        block_timeout_s: the timeouts of all jobs that take turns with this one, and its own. None if the job is measured alone.
    """
    return now + timedelta(seconds=max(timeout_s, block_timeout_s or 0.0) + grace_s)


def next_try(*, losses: int, deaths: int, max_attempts: int, now: datetime, jitter: float) -> datetime | None:
    """Return when a job may be tried again after a setback, or None if it has failed for good.

    Args:
        losses: how many attempts were lost with their worker, including this one. Attempts that were handed back do not count.
        deaths: how often the measured process died or the device failed while the worker lived on, including this time.
        max_attempts: the job fails at this number of deaths. Losses are not counted in, as a lost worker proves nothing about the job.
        jitter: a uniform random number in 0..1. The backoff doubles with each setback, and the jitter spreads it over its upper half.
    """
    if losses >= WORKERS_LOST_LIMIT or deaths >= max_attempts:
        return None
    backoff = min(BACKOFF_LIMIT_S, BACKOFF_BASE_S * 2 ** (losses + deaths - 1)) * (0.5 + jitter / 2)
    return now + timedelta(seconds=backoff)


def next_try_of_handed_back(times: int, now: datetime) -> datetime | None:
    """Return when a job that its worker handed back may be sent again, or None if that has happened too often.

    Args:
        times: how often the job was handed back, including this time.
    """
    if times >= HANDED_BACK_LIMIT:
        return None
    backoff = 0.0 if times <= HANDED_BACK_FREELY else min(BACKOFF_LIMIT_S, BACKOFF_BASE_S * 2 ** min(times - HANDED_BACK_FREELY - 1, 10))
    return now + timedelta(seconds=backoff)


def story(verdict: str, setbacks: Sequence[Setback]) -> str:
    """Return why a job has failed for good. The text lists each attempt that ended badly, its worker, and how it ended."""
    *earlier, last = setbacks
    told = [_told(setback, setback.what[:TOLD_LIMIT]) for setback in earlier] + [_told(last, last.what)]
    return f"{verdict}: {'; '.join(told)}"[:STORY_LIMIT]


def _told(setback: Setback, what: str) -> str:
    where = f" on {setback.worker_id}" if setback.worker_id and setback.worker_id not in what else ""
    return f"attempt {setback.attempt}{where}: {what}"
