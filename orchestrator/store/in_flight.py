"""Holds the queries on jobs that are in a queue or at a worker."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlmodel import Session, col

from orchestrator.domain.stored import timeout_of
from orchestrator.store.jobs import ALL_DISPATCHED, DISPATCHED, RUNNING
from orchestrator.store.tables import Job
from orchestrator.store.types import where_json


class RunningJob(NamedTuple):
    """Holds what the watch needs to know of a running job."""

    id: str
    attempt: int
    worker_id: str | None
    incarnation: str | None
    started_at: datetime | None
    deadline_at: datetime | None
    block_timeout_s: float | None
    timeout_s: float


def running(session: Session) -> list[RunningJob]:
    """Return every running job. A worker has one, or the jobs of one block.

    Of the stored work, which is a kilobyte or more, the database sends the timeout alone: the watch asks for all running jobs at each look.
    """
    columns: list[Any] = [getattr(Job, name) for name in RunningJob._fields[:-1]]
    timeout = where_json(session, col(Job.workload), col(Job.workload)["timeout_s"])
    statement = select(*columns, timeout).where(RUNNING).order_by(col(Job.id))
    return [RunningJob._make([*others, timeout_of({"timeout_s": timeout_s})]) for *others, timeout_s in session.execute(statement)]


def running_on(session: Session, worker_id: str) -> list[Job]:
    statement = select(Job).where(RUNNING, col(Job.worker_id) == worker_id).order_by(col(Job.id))
    return list(session.scalars(statement))


def dispatched_in(session: Session, queues: Sequence[str], limit: int = 1_000) -> list[Job]:
    """Return the dispatched jobs of these queues whose start is not known, the oldest first."""
    if not queues:
        return []
    statement = select(Job).where(*DISPATCHED, col(Job.queue).in_(queues)).order_by(col(Job.dispatched_at)).limit(limit)
    return list(session.scalars(statement))


def dispatched_before(session: Session, queues: Sequence[str], before: datetime) -> set[tuple[str, int]]:
    """Return (job id, attempt) of the jobs that were sent to these queues before that moment and whose start is not known.

    The queues' windows limit their number, whatever the size of the campaigns.
    """
    if not queues:
        return set()
    statement = select(col(Job.id), col(Job.attempt)).where(*DISPATCHED, col(Job.queue).in_(queues), col(Job.dispatched_at) < before)
    return {(job_id, attempt) for job_id, attempt in session.execute(statement)}


def dispatched_queues(session: Session) -> list[str]:
    return [str(queue) for queue in session.scalars(select(col(Job.queue)).where(*ALL_DISPATCHED).distinct())]
