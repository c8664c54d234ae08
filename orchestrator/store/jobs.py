"""Queries on jobs and lanes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, bindparam, func, insert, or_, select, text, tuple_, update
from sqlmodel import Session, col

from orchestrator.store.tables import Campaign, Event, Job, Lane
from shared.errors import NotFound
from shared.jobs import CampaignStatus, JobStatus

UNDISPATCHED = (col(Job.status) == JobStatus.PENDING, col(Job.dispatched_at).is_(None))
DISPATCHED = (col(Job.status) == JobStatus.PENDING, col(Job.dispatched_at).is_not(None))

INSERT_BATCH = 5_000
_INSERT_DOCUMENT = text("INSERT INTO jobs SELECT * FROM jsonb_populate_recordset(NULL::jobs, CAST(:rows AS jsonb))")


@dataclass(frozen=True)
class Waiting:
    """Dispatched and unclaimed jobs of one campaign in one queue."""

    queue: str
    campaign_id: str
    priority: int
    jobs: int


def get(session: Session, job_id: str) -> Job:
    """
    Raises:
        NotFound: no such job.
    """
    job = session.get(Job, job_id)
    if job is None:
        raise NotFound(f"no job has the id {job_id!r}; GET /api/jobs lists them")
    return job


def page(
    session: Session,
    *,
    campaign_id: str | None = None,
    status: str | None = None,
    worker_id: str | None = None,
    since: datetime | None = None,
    after: tuple[str, int] | None = None,
    limit: int = 100,
) -> list[Job]:
    """Jobs in the order (campaign, number), from behind `after`: keyset, so that page 1 000 costs what page 1 does."""
    statement = select(Job).order_by(col(Job.campaign_id), col(Job.number)).limit(limit)
    if campaign_id is not None:
        statement = statement.where(col(Job.campaign_id) == campaign_id)
    if status is not None:
        statement = statement.where(col(Job.status) == status)
    if worker_id is not None:
        statement = statement.where(col(Job.worker_id) == worker_id)
    if since is not None:
        statement = statement.where(col(Job.created_at) >= since)
    if after is not None:
        statement = statement.where(tuple_(col(Job.campaign_id), col(Job.number)) > tuple_(*after))
    return list(session.scalars(statement))


def history(session: Session, job_id: str) -> list[Event]:
    return list(session.scalars(select(Event).where(col(Event.job_id) == job_id).order_by(col(Event.id))))


def lane_of(session: Session, job: Job) -> Lane:
    lane = session.get(Lane, job.lane_id)
    assert lane is not None, "a foreign key holds it"
    return lane


def insert_many(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Insert job rows in batches, past the unit of work: 10 000 objects would cost seconds.

    PostgreSQL takes a batch as one JSON document: a statement a row costs it 5 times as long.
    """
    connection = session.connection()
    for start in range(0, len(rows), INSERT_BATCH):
        batch = rows[start : start + INSERT_BATCH]
        if connection.dialect.name == "postgresql":
            document = json.dumps(batch, default=lambda moment: moment.isoformat())
            connection.execute(_INSERT_DOCUMENT, {"rows": document})
        else:
            connection.execute(insert(Job.__table__), batch)  # type: ignore[attr-defined]  # untyped in SQLModel


def open_lanes(session: Session, now: datetime, limit: int) -> list[tuple[Lane, int]]:
    """Lanes of running campaigns with something to send, most urgent first, then oldest; with what the campaign runs now."""
    ready = (
        select(col(Job.id))
        .where(col(Job.lane_id) == Lane.id, *UNDISPATCHED, or_(col(Job.not_before).is_(None), col(Job.not_before) <= now))
        .exists()
    )
    statement = (
        select(Lane, col(Campaign.running_jobs))
        .join(Campaign, col(Campaign.id) == col(Lane.campaign_id))
        .where(col(Campaign.status) == CampaignStatus.RUNNING, ready)
        .order_by(col(Lane.priority).desc(), col(Lane.campaign_id), col(Lane.id))
        .limit(limit)
    )
    return [(lane, running) for lane, running in session.execute(statement)]


def waiting(session: Session) -> list[Waiting]:
    """What is in the queues by the table's account. Bounded by the windows, whatever the campaigns' size."""
    group = (col(Job.queue), col(Job.campaign_id), col(Job.priority))
    statement = select(*group, func.count()).where(*DISPATCHED).group_by(*group)
    return [Waiting(str(queue), campaign_id, priority, jobs) for queue, campaign_id, priority, jobs in session.execute(statement)]


def next_in_lane(session: Session, lane_id: int, now: datetime, limit: int) -> list[Job]:
    """The next jobs of a lane, locked; what another orchestrator is taking is skipped."""
    statement = (
        select(Job)
        .where(col(Job.lane_id) == lane_id, *UNDISPATCHED, or_(col(Job.not_before).is_(None), col(Job.not_before) <= now))
        .order_by(col(Job.number))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return list(session.scalars(statement))


def mark_dispatched(session: Session, jobs: Sequence[tuple[Job, str, str]], now: datetime) -> None:
    """Write where locked, pending jobs were sent: (job, queue, capability)."""
    if not jobs:
        return
    rows = [{"b_id": job.id, "b_queue": queue, "b_capability": capability} for job, queue, capability in jobs]
    statement = (
        update(Job.__table__)  # type: ignore[attr-defined]  # untyped in SQLModel
        .where(col(Job.id) == bindparam("b_id"))
        .values(queue=bindparam("b_queue"), capability=bindparam("b_capability"), dispatched_at=now)
    )
    session.connection().execute(statement, rows)


def set_waiting(session: Session, lane_id: int, waiting_for: str) -> None:
    session.execute(update(Lane).where(col(Lane.id) == lane_id).values(waiting_for=waiting_for))


def dispatched_before(session: Session, moment: datetime, queues: Iterable[str], limit: int = 1_000) -> list[Job]:
    """Dispatched, unclaimed jobs that were sent before `moment`, or whose queue is one of these."""
    statement = (
        select(Job)
        .where(*DISPATCHED, or_(col(Job.dispatched_at) < moment, col(Job.queue).in_(list(queues))))
        .order_by(col(Job.dispatched_at))
        .limit(limit)
    )
    return list(session.scalars(statement))


def dispatched_queues(session: Session) -> list[str]:
    return [str(queue) for queue in session.scalars(select(col(Job.queue)).where(*DISPATCHED).distinct())]


def running(session: Session) -> list[Job]:
    """Every running job: as many as there are workers, at most."""
    return list(session.scalars(select(Job).where(col(Job.status) == JobStatus.RUNNING).order_by(col(Job.id))))


def running_on(session: Session, worker_id: str) -> list[Job]:
    statement = select(Job).where(col(Job.status) == JobStatus.RUNNING, col(Job.worker_id) == worker_id).order_by(col(Job.id))
    return list(session.scalars(statement))


def unfinished_of(session: Session, campaign_id: str) -> list[str]:
    statement = select(col(Job.id)).where(
        col(Job.campaign_id) == campaign_id, or_(col(Job.status) == JobStatus.PENDING, col(Job.status) == JobStatus.RUNNING)
    )
    return list(session.scalars(statement))


def queued_too_long(session: Session, now: datetime, limit: int = 1_000) -> list[tuple[str, str]]:
    """(job id, what it waits for) of pending jobs of campaigns whose time to start a job is over."""
    statement = (
        select(col(Job.id), col(Lane.waiting_for))
        .join(Campaign, col(Campaign.id) == col(Job.campaign_id))
        .join(Lane, col(Lane.id) == col(Job.lane_id))
        .where(
            and_(
                col(Campaign.status) == CampaignStatus.RUNNING,
                col(Campaign.queue_deadline_at) < now,
                col(Job.status) == JobStatus.PENDING,
                col(Job.attempt) == 1,
            )
        )
        .limit(limit)
    )
    return [(job_id, waiting_for) for job_id, waiting_for in session.execute(statement)]
