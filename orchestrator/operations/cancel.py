"""Cancels jobs. First the row is updated conditionally, then Redis gets a tombstone, which claims and heartbeats read."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sqlmodel import Session

from orchestrator.operations.context import Context
from orchestrator.store import campaigns, jobs
from orchestrator.store.moves import Moves, cancel_steps, lock_jobs
from orchestrator.store.tables import Campaign, Job
from shared.errors import IllegalTransition, Unavailable
from shared.jobs import CampaignStatus, JobStatus

log = logging.getLogger(__name__)


def cancel_job(ctx: Context, job_id: str) -> Job:
    """Cancel one job. It is no error if the job is cancelled already.

    Raises:
        NotFound: there is no such job.
        IllegalTransition: the job is complete or failed.
    """

    def write(session: Session) -> tuple[Job, list[str]]:
        locked = lock_jobs(session, [job_id])
        if job_id in locked and locked[job_id].status in (JobStatus.COMPLETE, JobStatus.FAILED):
            raise IllegalTransition(f"job {job_id} is {locked[job_id].status}; a job that has ended cannot be cancelled")
        moves = Moves(session, ctx.clock.now())
        stopped = cancel_steps(moves, list(locked.values()), "cancelled by a user")
        moves.flush()
        return jobs.get(session, job_id), stopped

    job, stopped = ctx.store.transact(write)
    after_end(ctx, stopped)
    return job


def cancel_campaign(ctx: Context, campaign_id: str) -> tuple[Campaign, int]:
    """Cancel every unfinished job of a campaign. Return the campaign, and how many jobs were cancelled.

    Raises:
        NotFound: there is no such campaign.
        IllegalTransition: the campaign is completed.
    """

    def write(session: Session) -> tuple[Campaign, list[str]]:
        campaign = campaigns.get(session, campaign_id)
        if campaign.status == CampaignStatus.COMPLETED:
            raise _completed(campaign_id)
        now = ctx.clock.now()
        locked = lock_jobs(session, jobs.unfinished_of(session, campaign_id))
        moves = Moves(session, now)
        stopped = cancel_steps(moves, list(locked.values()), "the campaign was cancelled")
        moves.flush()
        if stopped:
            campaigns.close(session, campaign_id, now)
        session.expire_all()
        campaign = campaigns.get(session, campaign_id)
        if campaign.status == CampaignStatus.COMPLETED:
            raise _completed(campaign_id)  # its last job ended while we waited for the lock
        if jobs.unfinished_of(session, campaign_id):
            raise _HasGrown
        return campaign, stopped

    while True:  # try again if a retry added a job between our query and our locks
        try:
            campaign, stopped = ctx.store.transact(write)
        except _HasGrown:
            continue
        after_end(ctx, stopped)
        return campaign, len(stopped)


class _HasGrown(Exception):
    """Says that a job was added to the campaign after we had read its jobs. Nothing was written."""


def _completed(campaign_id: str) -> IllegalTransition:
    return IllegalTransition(f"campaign {campaign_id} is completed; nothing of it is left to cancel")


def after_end(ctx: Context, job_ids: Sequence[str]) -> None:
    """Tell Redis and the reporter that these jobs have ended. A worker that still runs one of them stops at its next heartbeat.

    The table already says so, and the watch writes the tombstones again, so an outage of Redis is no error here.
    """
    ctx.wake_reporter()
    if not job_ids:
        return
    try:
        ctx.registry.marks.tombstone(job_ids)
    except Unavailable as error:
        log.warning("ended in the table; workers learn of it when Redis is back: %s", error.detail)
