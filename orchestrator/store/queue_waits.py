"""Holds the queries about how long jobs have waited to be started.

A campaign's queue timeout counts from when a job could first be sent, or from when it went back. It pauses while a busy worker could
take the job next, so a campaign that runs for a week is not late. `lanes.served_at` says when that was last the case. Time in which no
watch looked does not count either: it is added to `served_at`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import func, or_, select, update
from sqlmodel import Session, col

from orchestrator.store.tables import Campaign, Job, Lane
from orchestrator.store.types import constant
from shared.jobs import CampaignStatus, JobStatus

STEPS = 20  # `served_at` is accurate to the queue timeout divided by this


class LateJob(NamedTuple):
    """Holds a pending job that was not started within its queue timeout."""

    job_id: str
    attempt: int
    waiting_for: str


def lanes_to_look_at(session: Session, now: datetime) -> list[Lane]:
    """Return the lanes of running campaigns that were last served more than one step of their queue timeout ago, or never."""
    found: list[Lane] = []
    for campaign_id, created_at, timeout in _running(session):
        horizon = now - timeout / STEPS
        if created_at < horizon:
            mine = col(Lane.campaign_id) == campaign_id
            found += session.scalars(select(Lane).where(mine, or_(col(Lane.served_at).is_(None), col(Lane.served_at) < horizon)))
    return found


def mark_served(session: Session, lane_ids: Sequence[int], now: datetime) -> None:
    """Write that these lanes are served now. Rows are written in the order of their ids, like everywhere, to avoid deadlocks."""
    for lane_id in sorted(lane_ids):
        session.execute(update(Lane).where(col(Lane.id) == lane_id).values(served_at=now))


def stand_still(session: Session, missed: timedelta, now: datetime) -> None:
    """Add the time in which no watch looked to the queue timeout of every waiting job.

    This works per lane: all jobs of a lane are treated as if they had waited since the last of them went back.
    """
    waits = (col(Job.status) == JobStatus.PENDING, col(Job.not_before) <= now)
    latest = select(col(Job.lane_id), func.max(col(Job.not_before))).where(*waits).group_by(col(Job.lane_id))
    went_back = {row[0]: row[1] for row in session.execute(latest)}
    began = {campaign_id: created_at for campaign_id, created_at, _ in _running(session)}
    of_campaign = col(Campaign.id) == col(Lane.campaign_id)
    running = select(Lane).join(Campaign, of_campaign).where(col(Campaign.status) == constant(CampaignStatus.RUNNING))
    for lane in session.scalars(running.order_by(col(Lane.id))):
        since = [began.get(lane.campaign_id), lane.served_at, went_back.get(lane.id)]
        # A campaign that another process has committed between these statements has none of these times, and has not waited yet.
        if known := [moment for moment in since if moment is not None]:
            lane.served_at = min(now, max(known) + missed)


def late(session: Session, now: datetime, limit: int = 1_000) -> list[LateJob]:
    """Return pending jobs that have waited longer than their campaign's queue timeout while no busy worker could take them."""
    found: list[LateJob] = []
    for campaign_id, created_at, timeout in _running(session):
        horizon = now - timeout
        if created_at >= horizon or len(found) == limit:
            continue
        statement = (
            select(col(Job.id), col(Job.attempt), col(Lane.waiting_for))
            .join(Lane, col(Lane.id) == col(Job.lane_id))
            .where(
                col(Job.campaign_id) == campaign_id,
                col(Job.status) == JobStatus.PENDING,
                or_(col(Job.not_before).is_(None), col(Job.not_before) < horizon),
                or_(col(Lane.served_at).is_(None), col(Lane.served_at) < horizon),
            )
            .limit(limit - len(found))
        )
        found += [LateJob(*row) for row in session.execute(statement)]
    return found


def _running(session: Session) -> list[tuple[str, datetime, timedelta]]:
    """Return the running campaigns as (id, creation time, queue timeout)."""
    columns = (col(Campaign.id), col(Campaign.created_at), col(Campaign.queue_deadline_at))
    rows = session.execute(select(*columns).where(col(Campaign.status) == constant(CampaignStatus.RUNNING)))
    return [(campaign_id, created_at, deadline_at - created_at) for campaign_id, created_at, deadline_at in rows]
