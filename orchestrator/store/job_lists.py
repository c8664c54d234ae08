"""Holds the queries for lists of jobs: pages, their totals, and what a list shows of each job."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, func, select, tuple_
from sqlmodel import Session, col

from orchestrator.domain.stored import shown_options
from orchestrator.store.tables import Campaign, Job
from orchestrator.store.types import where_json
from shared.jobs import JobStatus

# the most jobs that are counted row by row; beyond this, a count would cost much more than the page that it belongs to
MOST_COUNTED = 10_000


class JobHead(NamedTuple):
    """Holds what a list of a campaign's jobs shows of one job."""

    number: int
    job_id: str
    compute_unit: str
    status: str
    model: str
    capability: str | None
    worker_id: str | None
    attempt: int
    error: str | None
    lane_id: int
    queue: str | None
    dispatched_at: datetime | None
    not_before: datetime | None
    options: dict[str, Any]
    asked: dict[str, Any]  # parts of the workload, as they are stored; see `heads`


PLAIN = JobHead._fields.index("options")  # the fields before it are columns of a job


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
    """Return the jobs behind `after`. With this key, page 1 000 costs as much as page 1.

    The jobs of one campaign come in the order of their numbers, the jobs of all campaigns the newest first. Both orders are those of an
    index, read forwards or backwards.
    """
    key = (col(Job.campaign_id), col(Job.number))
    order = key if campaign_id is not None else tuple(column.desc() for column in key)
    statement = select(Job).where(*wanted_jobs(campaign_id, status, worker_id, since)).order_by(*order).limit(limit)
    if after is not None and after[0] == campaign_id:
        statement = statement.where(col(Job.number) > after[1])  # with a pair, SQLite would scan the campaign from number 1
    elif after is not None and campaign_id is not None:
        statement = statement.where(tuple_(*key) > tuple_(*after))
    elif after is not None:
        statement = statement.where(tuple_(*key) < tuple_(*after))
    return list(session.scalars(statement))


def count(
    session: Session,
    *,
    campaign_id: str | None = None,
    status: str | None = None,
    worker_id: str | None = None,
    since: datetime | None = None,
) -> int | None:
    """Return how many jobs `page` lists on all pages together, or None if they are more than `MOST_COUNTED` and no counter knows them."""
    if worker_id is None and since is None:
        names = (status,) if status is not None else tuple(JobStatus)
        counters = [func.coalesce(func.sum(getattr(Campaign, f"{name}_jobs")), 0) for name in names]
        whose = () if campaign_id is None else (col(Campaign.id) == campaign_id,)
        return sum(int(number) for number in session.execute(select(*counters).where(*whose)).one())
    return count_rows(session, select(col(Job.id)).where(*wanted_jobs(campaign_id, status, worker_id, since)))


def count_rows(session: Session, rows: Select[Any]) -> int | None:
    """Return how many rows these are, or None if they are more than `MOST_COUNTED`."""
    found = session.scalar(select(func.count()).select_from(rows.limit(MOST_COUNTED + 1).subquery())) or 0
    return found if found <= MOST_COUNTED else None


def wanted_jobs(campaign_id: str | None, status: str | None, worker_id: str | None, since: datetime | None) -> list[ColumnElement[bool]]:
    """Return the conditions on jobs that a list asks for. What is None asks for nothing."""
    wanted: list[ColumnElement[bool]] = []
    if campaign_id is not None:
        wanted.append(col(Job.campaign_id) == campaign_id)
    if status is not None:
        wanted.append(col(Job.status) == status)
    if worker_id is not None:
        wanted.append(col(Job.worker_id) == worker_id)
    if since is not None:
        wanted.append(col(Job.created_at) >= since)
    return wanted


def heads(session: Session, campaign_id: str, *, after: int = 0, limit: int = 100, parts: Collection[str] = ()) -> list[JobHead]:
    """Return the jobs of a campaign behind number `after`, in order. It reads columns instead of objects, which takes a tenth of the time.

    Numbers run from 1 without gaps, so a page is a range of numbers. With a plain LIMIT, PostgreSQL would sort the whole campaign
    while it has no statistics yet, right after a large campaign was written.

    Args:
        parts: the keys of the workload that are read into `asked` of each job.
    """
    workload = col(Job.workload)
    columns: list[Any] = [
        *(Job.number, Job.id, Job.compute_unit, Job.status, Job.model_name, Job.capability, Job.worker_id, Job.attempt, Job.error),
        *(Job.lane_id, Job.queue, Job.dispatched_at, Job.not_before),
        *(where_json(session, workload, workload[part]) for part in ("options", *parts)),
    ]
    number = col(Job.number)
    statement = select(*columns).where(col(Job.campaign_id) == campaign_id, number > after, number <= after + limit).order_by(number)
    found = []
    for item in session.execute(statement):
        asked = {part: value for part, value in zip(parts, item[PLAIN + 1 :], strict=True) if value is not None}
        found.append(JobHead._make([*item[:PLAIN], shown_options(item[PLAIN]), asked]))
    return found


def by_number(session: Session, campaign_id: str, numbers: list[int]) -> dict[int, Job]:
    statement = select(Job).where(col(Job.campaign_id) == campaign_id, col(Job.number).in_(numbers))
    return {job.number: job for job in session.scalars(statement)}
