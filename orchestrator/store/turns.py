"""Holds the queries of a turn of dispatch: which lanes have jobs to send, what the queues hold, and what is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, bindparam, func, or_, select, text, tuple_, update
from sqlmodel import Session, col

from orchestrator.store.jobs import ALL_DISPATCHED, RUNNING, UNDISPATCHED
from orchestrator.store.tables import Campaign, Job, Lane
from orchestrator.store.types import constant
from shared.jobs import CampaignStatus

_WINDOWS_LOCK = 7_218_002  # any number that no other lock has (see `schema`)


@dataclass(frozen=True)
class Waiting:
    """Counts the dispatched, unclaimed jobs of one campaign and priority in one queue, and the messages that hold them."""

    queue: str
    campaign_id: str
    priority: int
    jobs: int
    messages: int


class Sent(NamedTuple):
    """Says where a job is sent. `block` and `block_timeout_s` are None if it is alone in its message."""

    job_id: str
    queue: str
    capability: str
    block: str | None
    block_timeout_s: float | None


def lock_windows(session: Session) -> bool:
    """Keep other processes from filling the queues until this transaction ends. Return False if another one is doing so now.

    A process counts what a queue holds and then adds to it. Two processes at once would both use the same free room. SQLite has one
    writer at a time anyway. This never waits for the lock: a process that loses its connection to PostgreSQL in the middle of its
    transaction holds the lock until the server ends that transaction, 30 s later.
    """
    if session.connection().dialect.name != "postgresql":
        return True
    session.execute(text("SET LOCAL idle_in_transaction_session_timeout = '30s'"))
    return bool(session.execute(text(f"SELECT pg_try_advisory_xact_lock({_WINDOWS_LOCK})")).scalar_one())


def waiting(session: Session) -> list[Waiting]:
    """Return how many jobs are in the queues according to the table. The windows limit this number, however large the campaigns are."""
    group = (col(Job.queue), col(Job.campaign_id), col(Job.priority))
    messages = func.count(func.distinct(func.coalesce(col(Job.block), col(Job.id))))
    statement = select(*group, func.count(), messages).where(*ALL_DISPATCHED).group_by(*group)
    return [Waiting(str(queue), *counts) for queue, *counts in session.execute(statement)]


def working_on(session: Session) -> list[str]:
    """Return the id of the worker of each running job. A worker has one, or the jobs of one block."""
    return [str(worker_id) for worker_id in session.scalars(select(col(Job.worker_id)).where(RUNNING))]


def is_a_lane_open(session: Session, now: datetime) -> bool:
    """Return whether `open_lanes` finds any lane now."""
    found = select(col(Lane.id)).join(Campaign, col(Campaign.id) == col(Lane.campaign_id)).where(*_open(now)).limit(1)
    return session.scalar(found) is not None


def open_lanes(session: Session, now: datetime, limit: int, after: Lane | None = None) -> list[tuple[Lane, int]]:
    """Return lanes of running campaigns that have jobs to send, each with the number of its campaign's running jobs.

    The most urgent lanes come first, then the oldest.

    Args:
        after: the last lane of the previous page.
    """
    statement = (
        select(Lane, col(Campaign.running_jobs))
        .join(Campaign, col(Campaign.id) == col(Lane.campaign_id))
        .where(*_open(now))
        .order_by(col(Lane.priority).desc(), col(Lane.campaign_id), col(Lane.id))
        .limit(limit)
        .execution_options(populate_existing=True)  # a priority may change between two pages, and the next page begins behind it
    )
    if after is not None:
        key = tuple_(-col(Lane.priority), col(Lane.campaign_id), col(Lane.id))
        statement = statement.where(key > tuple_(-after.priority, after.campaign_id, after.id))
    return [(lane, running) for lane, running in session.execute(statement)]


def _open(now: datetime) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions of a lane, joined with its campaign, that has jobs to send.

    The first job of a lane is looked up in `ix_jobs_frontier`, whose order is asked for. With EXISTS, PostgreSQL may read every waiting job
    of a new campaign, or every ended job of an old one.
    """
    ready = or_(col(Job.not_before).is_(None), col(Job.not_before) <= now)
    first = select(col(Job.id)).where(col(Job.lane_id) == Lane.id, *UNDISPATCHED, ready).order_by(col(Job.lane_id), col(Job.position))
    return (col(Campaign.status) == constant(CampaignStatus.RUNNING), first.limit(1).scalar_subquery().is_not(None))


def next_in_lane(session: Session, lane_id: int, now: datetime, limit: int, after: int = 0) -> list[Job]:
    """Lock and return the next jobs of a lane behind position `after`. Jobs that another transaction has locked are skipped."""
    statement = (
        select(Job)
        .where(col(Job.lane_id) == lane_id, col(Job.position) > after)
        .where(*UNDISPATCHED, or_(col(Job.not_before).is_(None), col(Job.not_before) <= now))
        .order_by(col(Job.position))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return list(session.scalars(statement))


def mark_dispatched(session: Session, jobs: Sequence[Sent], now: datetime) -> None:
    """Write where locked, pending jobs are sent."""
    if not jobs:
        return
    names = ("queue", "capability", "block", "block_timeout_s")
    rows = [{"b_id": sent.job_id, **{f"b_{name}": getattr(sent, name) for name in names}} for sent in jobs]
    statement = (
        update(Job.__table__)  # type: ignore[attr-defined]  # untyped in SQLModel
        .where(col(Job.id) == bindparam("b_id"))
        .values({"dispatched_at": now, **{name: bindparam(f"b_{name}") for name in names}})
    )
    session.connection().execute(statement, rows)
