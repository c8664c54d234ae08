"""Which steps a job may take, and what happens to one whose attempt ended badly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared.errors import IllegalTransition
from shared.jobs import DEFAULT_TIMEOUT_S, TRANSITIONS, JobStatus

BACKOFF_BASE_S = 1.0
BACKOFF_LIMIT_S = 60.0
RETRIED_KINDS = frozenset({"runner_died"})  # a timeout or an error of the model on a healthy worker is the answer


@dataclass(frozen=True)
class Requeue:
    """The job goes back to its queue as its next attempt."""

    attempt: int
    losses: int
    not_before: datetime


@dataclass(frozen=True)
class GiveUp:
    """The job has failed for good."""

    reason: str


def check_step(job_id: str, seen: str, wanted: JobStatus) -> None:
    """
    Raises:
        IllegalTransition: the table of states has no such step.
    """
    if wanted not in TRANSITIONS[JobStatus(seen)]:
        raise IllegalTransition(f"job {job_id} is {seen}; it cannot become {wanted}")


def deadline(now: datetime, workload: Mapping[str, Any], grace_s: float) -> datetime:
    """When a job that begins now is given up: its own timeout, and grace for what its worker does not count into that."""
    return now + timedelta(seconds=float(workload.get("timeout_s", DEFAULT_TIMEOUT_S)) + grace_s)


def after_loss(*, attempt: int, losses: int, max_attempts: int, now: datetime, jitter: float, reason: str) -> Requeue | GiveUp:
    """What becomes of a job whose attempt was lost with its process.

    Args:
        losses: attempts lost before this one; what was handed back does not count.
        jitter: uniform in 0..1; the backoff doubles with each loss and is spread over its upper half.
    """
    losses += 1
    if losses >= max_attempts:
        return GiveUp(f"lost {losses} times, the last: {reason}")
    backoff = min(BACKOFF_LIMIT_S, BACKOFF_BASE_S * 2 ** (losses - 1)) * (0.5 + jitter / 2)
    return Requeue(attempt=attempt + 1, losses=losses, not_before=now + timedelta(seconds=backoff))
