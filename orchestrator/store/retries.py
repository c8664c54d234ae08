"""Adds a new job that repeats one that has ended, and counts it in its campaign."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, insert, literal, select, update
from sqlmodel import Session, col

from orchestrator.store.moves import LockedJob
from orchestrator.store.tables import Campaign, Job, Lane
from shared.ids import job_id
from shared.jobs import CampaignStatus, JobStatus

_SAME = ("campaign_id", "lane_id", "compute_unit", "max_attempts", "workload", "model_name")


def unfinished_retry(session: Session, old: LockedJob) -> Job | None:
    """Return an earlier retry of this job that has not ended, or None."""
    unfinished = col(Job.status).in_([str(JobStatus.PENDING), str(JobStatus.RUNNING)])
    mine = (col(Job.campaign_id) == old.campaign_id, unfinished, col(Job.retry_of) == old.id)
    return session.scalars(select(Job).where(*mine)).first()


def add_retry(session: Session, old: LockedJob, now: datetime) -> str | None:
    """Add a copy of this job and return its id, or None if the campaign was cancelled.

    A completed campaign becomes running again, so that its files are written again when the new job has ended.
    """
    columns = Campaign.__table__.c  # type: ignore[attr-defined]  # untyped in SQLModel
    more: dict[Any, Any] = {columns.total_jobs: columns.total_jobs + 1, columns.pending_jobs: columns.pending_jobs + 1}
    again: dict[Any, Any] = {columns.status: str(CampaignStatus.RUNNING), columns.ended_at: None, columns.reported_at: None}
    statement = (
        update(Campaign.__table__)  # type: ignore[attr-defined]  # untyped in SQLModel
        .where(columns.id == old.campaign_id, columns.status != CampaignStatus.CANCELLED)
        .values(more | again)
        .returning(columns.total_jobs)
    )
    number = session.connection().execute(statement).scalar_one_or_none()
    if number is None:
        return None
    new = job_id(old.campaign_id, number)
    moment = Job.__table__.c.not_before.type  # type: ignore[attr-defined]  # untyped in SQLModel
    own = {
        "id": literal(new),
        "number": literal(number),
        "position": literal(number),  # the job comes behind all jobs of its campaign
        "priority": select(col(Lane.priority)).where(col(Lane.id) == col(Job.lane_id)).scalar_subquery(),  # it may have been changed since
        "retry_of": literal(old.id),
        "status": literal(str(JobStatus.PENDING)),
        "attempt": literal(1),
        "losses": literal(0),
        "deaths": literal(0),
        "created_at": bindparam("now", now, type_=moment),
        "not_before": bindparam("now", now, type_=moment),  # its queue timeout counts from here
    }
    source = select(*(getattr(Job, name) for name in _SAME), *own.values()).where(col(Job.id) == old.id)
    copied = insert(Job.__table__).from_select([*_SAME, *own], source)  # type: ignore[attr-defined]  # untyped in SQLModel
    session.connection().execute(copied)
    return new
