"""Holds the queries on single jobs, their histories and their lanes. Other queries on jobs are in `job_lists`, `turns` and `in_flight`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import or_, select
from sqlmodel import Session, col

from orchestrator.store.bulk import BATCH
from orchestrator.store.tables import Event, Job, Lane
from orchestrator.store.types import constant, likely
from shared.errors import NotFound
from shared.jobs import JobStatus

PENDING = col(Job.status) == constant(JobStatus.PENDING)
RUNNING = col(Job.status) == constant(JobStatus.RUNNING)
UNDISPATCHED = (PENDING, col(Job.dispatched_at).is_(None))
DISPATCHED = (PENDING, col(Job.dispatched_at).is_not(None))
ALL_DISPATCHED = (likely(PENDING), col(Job.dispatched_at).is_not(None))  # where nothing else is asked for


def get(session: Session, job_id: str) -> Job:
    """Return a job.

    Raises:
        NotFound: there is no such job.
    """
    job = session.get(Job, job_id)
    if job is None:
        raise NotFound(f"no job has the id {job_id!r}; GET /api/jobs lists them")
    return job


def some(session: Session, job_ids: Sequence[str]) -> list[Job]:
    """Return these jobs. Ids that the table does not know are left out."""
    return list(session.scalars(select(Job).where(col(Job.id).in_(job_ids)))) if job_ids else []


def statuses(session: Session, job_ids: Iterable[str]) -> dict[str, JobStatus]:
    """Return the status of each of these jobs. Ids that the table does not know are left out."""
    ids, found = list(job_ids), {}
    for start in range(0, len(ids), BATCH):  # a statement takes at most 65 535 parameters
        statement = select(col(Job.id), col(Job.status)).where(col(Job.id).in_(ids[start : start + BATCH]))
        found.update({job_id: JobStatus(status) for job_id, status in session.execute(statement)})
    return found


def unfinished_of(session: Session, campaign_id: str) -> list[str]:
    statement = select(col(Job.id)).where(col(Job.campaign_id) == campaign_id, or_(PENDING, RUNNING))
    return list(session.scalars(statement))


def history(session: Session, job_id: str) -> list[Event]:
    return list(session.scalars(select(Event).where(col(Event.job_id) == job_id).order_by(col(Event.id))))


def noted(session: Session, job_ids: Collection[str], kinds: Collection[str]) -> list[Event]:
    """Return the events of these kinds in the histories of a batch of jobs, oldest first."""
    mine = (col(Event.job_id).in_(job_ids), col(Event.kind).in_(kinds))
    return list(session.scalars(select(Event).where(*mine).order_by(col(Event.id))))


def events_of(session: Session, campaign_id: str, *, after: int, limit: int) -> list[Event]:
    """Return the histories of the jobs of a campaign whose numbers are behind `after`, up to `limit` numbers, job by job."""
    number = col(Job.number)
    statement = (
        select(Event)
        .join(Job, col(Job.id) == col(Event.job_id))
        .where(col(Job.campaign_id) == campaign_id, number > after, number <= after + limit)
        .order_by(number, col(Event.id))
    )
    return list(session.scalars(statement))


def lane_of(session: Session, job: Job) -> Lane:
    lane = session.get(Lane, job.lane_id)
    assert lane is not None, "a foreign key holds it"
    return lane


def waiting_reasons(session: Session, lane_ids: Collection[int]) -> dict[int, str]:
    """Return for each lane why its jobs could not be placed at the last try. The text is empty if a job could be placed."""
    statement = select(col(Lane.id), col(Lane.waiting_for)).where(col(Lane.id).in_(sorted(lane_ids)))
    return {lane_id: str(reason) for lane_id, reason in session.execute(statement)} if lane_ids else {}
