"""Writes the files of campaigns that have ended. This is idempotent: writing them twice gives the same files."""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterator, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy import update
from sqlmodel import Session, col

from orchestrator.domain.stored import Unreadable, kind_of, read_workload, unknown_workload
from orchestrator.operations.context import Context
from orchestrator.operations.removal import remove_files_of_unknown
from orchestrator.operations.rows import row_of
from orchestrator.operations.scoring import scores_are_due, waiting
from orchestrator.reports.bundle import CampaignBundle, DeviceEntry, JobRecord
from orchestrator.reports.columns import Row
from orchestrator.reports.outputs import write_campaign
from orchestrator.store import campaigns, results
from orchestrator.store.tables import Campaign, Job, ResultRow
from shared.device_labels import device_labels
from shared.errors import NotFound, Unavailable
from shared.jobs import CampaignStatus, JobStatus
from shared.protocol.letters import problems
from shared.protocol.messages import Result

log = logging.getLogger(__name__)

PACKAGES = ("fleetmark", "celery", "redis", "sqlalchemy", "matplotlib")


def finish_ended(ctx: Context) -> int:
    """Write the files of every ended campaign that has none yet. Return for how many campaigns they were written.

    A campaign whose files cannot be written does not delay the others. The log says why, and the next call tries it again.
    The newest campaigns come first, so old ones that fail each time do not delay new ones.

    Raises:
        Unavailable: the database does not answer.
    """
    written = 0
    for campaign_id in waiting(ctx):
        try:
            if scores_are_due(ctx, campaign_id):
                ctx.wake_scorer()  # its files are written when they can hold the scores; other campaigns do not wait for that
                continue
            finish(ctx, campaign_id)
        except Unavailable:
            raise
        except OSError as error:
            log.warning("the files of %s cannot be written, and are tried again: %s", campaign_id, error)
        except Exception:
            log.exception("the files of %s cannot be made, and are tried again", campaign_id)
        else:
            written += 1
    return written


def finish(ctx: Context, campaign_id: str) -> list[Path]:
    """Write the files of one campaign and note in the table that they are written. Return their paths.

    The list is empty if the campaign runs again, because one of its jobs was retried, or if the campaign was removed.

    Raises:
        OSError: the outputs folder cannot be written.
    """
    with ctx.store.read() as session:
        try:
            campaign = campaigns.get(session, campaign_id, recipe=True)
        except NotFound:  # it has just been removed
            return []
        ended_at = campaign.ended_at
        if ended_at is None:
            return []  # one of its jobs was retried
        bundle = _bundle(ctx, session, campaign, ctx.clock.now())
        session.expunge_all()
    # No transaction is open while the files are written. If a job is retried meanwhile, they are written again when it has ended.
    paths = write_campaign(ctx.settings.outputs_dir, bundle)

    def write(session: Session) -> None:
        same = (col(Campaign.id) == campaign_id, col(Campaign.ended_at) == ended_at)  # no row matches if a job was retried in the meantime
        session.execute(update(Campaign).where(*same).values(reported_at=ctx.clock.now()))

    ctx.store.transact(write)
    remove_files_of_unknown(ctx, [campaign_id])
    log.info("%s: %s", campaign_id, paths[-1])
    return paths


def _bundle(ctx: Context, session: Session, campaign: Campaign, now: datetime) -> CampaignBundle:
    varied = ctx.varied.of(session, [campaign.id])[campaign.id]
    return CampaignBundle(
        campaign_id=campaign.id,
        name=campaign.name,
        status=CampaignStatus(campaign.status),
        created_at=campaign.created_at,
        ended_at=campaign.ended_at or now,
        recipe=campaign.recipe,
        jobs=job_records(ctx, campaign, varied),
        recipe_hash=campaign.recipe_hash,
        devices=_devices(ctx, session, campaign),
        varied=varied,
        user=campaign.submitted_by,
        git_commit=ctx.git_commit,
        notes=campaign.notes,
        labels=campaign.labels,
        versions={"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    )


def _devices(ctx: Context, session: Session, campaign: Campaign) -> dict[str, DeviceEntry]:
    """Return the devices of a campaign's results. Only Redis knows their hardware; while it does not answer, the files say null."""
    named = results.devices(session, campaign.id)
    try:
        known = ctx.registry.registrations({worker_id for worker_id, _ in named})
    except Unavailable as error:
        log.warning("the files of %s are written without the hardware of its devices: %s", campaign.id, error.detail)
        known = {}
    labels = device_labels(named)
    return {worker_id: DeviceEntry(labels[worker_id], known[worker_id].hardware if worker_id in known else None) for worker_id, _ in named}


def job_records(ctx: Context, campaign: Campaign, varied: Sequence[str]) -> Iterator[JobRecord]:
    """Yield the record of each ended job. Each page is read in a transaction of its own, which ends before the page is used."""
    for after in range(0, campaign.total_jobs, results.PAGE):
        with ctx.store.read() as session:
            page = results.ended_page(session, campaign.id, Job, ResultRow.row, ResultRow.result, after=after)
            session.expunge_all()
        for job, row, result in page:
            yield _record(job, row, result, varied)


def _record(job: Job, row: Row | None, result: dict[str, Any] | None, varied: Sequence[str]) -> JobRecord:
    """Return the record of one job. Parts that cannot be read are left out with a note: one bad row must not prevent the files."""
    unreadable = ""
    try:
        workload = read_workload(job.workload)
    except Unreadable as error:
        workload, unreadable = unknown_workload(job.model_name), str(error)
    return JobRecord(
        job_id=job.id,
        status=JobStatus(job.status),
        compute_unit=job.compute_unit,
        workload=workload,
        unreadable=unreadable,
        kind=kind_of(job.workload),
        title=job.model_name,
        position=job.position,
        attempt=job.attempt,
        capability=job.capability,
        worker_id=job.worker_id,
        error=job.error or "",
        retry_of=job.retry_of,
        created_at=job.created_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
        row=row if row and isinstance(row, dict) else row_of(job, varied),
        result=_result(job, result) if result is not None else None,
    )


def _result(job: Job, stored: dict[str, Any]) -> Result | None:
    try:
        return Result.model_validate(stored)
    except ValidationError as error:
        log.warning("the stored result of %s cannot be read, and is left out of the files of its campaign: %s", job.id, problems(error))
        return None
