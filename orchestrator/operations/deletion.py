"""Deletes a campaign: its rows first, in one transaction, and then its files under `outputs/`.

Somebody else may still work on it: the reporter may write its files, and the consumer may store the samples of its last result. Both look
whether the campaign still exists after they have written, and take back what they wrote if it does not. As the files are deleted after the
rows, nothing of it is left in either order.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlmodel import Session

from orchestrator.operations.artifacts import places
from orchestrator.operations.context import Context
from orchestrator.store import campaigns, jobs
from shared.errors import Conflict, NotFound, Unavailable
from shared.jobs import CampaignStatus
from shared.protocol.messages import Result

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Deleted:
    """Holds how much of a campaign was deleted."""

    jobs: int
    files: int


def delete_campaign(ctx: Context, campaign_id: str) -> Deleted:
    """Delete a campaign that has ended: its jobs, results and histories, and all of its files. Uploaded models stay.

    A result that arrives later is answered `unwanted`, as for every job that the table does not know. If only files are left of the
    campaign, they are deleted.

    Raises:
        NotFound: there is no such campaign, and there are no files of it.
        Conflict: it is running.
        Unavailable: the database does not answer, or a file cannot be deleted. Calling this again finishes the rest.
    """

    def write(session: Session) -> int:
        _require_ended(session, campaign_id)
        jobs.lock_all_of(session, campaign_id)
        session.expire_all()
        _require_ended(session, campaign_id)  # a retry may have made it run again while we waited for the locks
        return campaigns.delete_one(session, campaign_id)

    try:
        deleted = ctx.store.transact(write)
    except NotFound:
        if not _files_of(ctx, campaign_id):
            raise
        deleted = 0
    files = _remove_files(ctx, campaign_id)
    log.info("%s is deleted: %d jobs, %d files", campaign_id, deleted, files)
    return Deleted(deleted, files)


def _require_ended(session: Session, campaign_id: str) -> None:
    if campaigns.get(session, campaign_id).status == CampaignStatus.RUNNING:
        raise Conflict(
            f"campaign {campaign_id} is running: cancel it first (POST /api/campaigns/{campaign_id}/cancel, or `fleetmark stop`), "
            "then delete it"
        )


def _files_of(ctx: Context, campaign_id: str) -> list[Path]:
    """Return the folder of a campaign and its CSV directly in `outputs/`, as far as they exist."""
    outputs = ctx.settings.outputs_dir
    return [path for path in (outputs / campaign_id, *outputs.glob(f"{campaign_id}_*_results.csv")) if path.exists()]


def _remove_files(ctx: Context, campaign_id: str) -> int:
    removed = 0
    try:
        for path in _files_of(ctx, campaign_id):
            if path.is_dir():
                removed += sum(1 for inner in path.rglob("*") if inner.is_file())
                shutil.rmtree(path)
            else:
                path.unlink()
                removed += 1
    except OSError as error:
        raise Unavailable(
            f"the records of {campaign_id} are deleted, but not all of its files: {error.strerror}; make the orchestrator's outputs folder "
            "writable, then delete it again"
        ) from error
    return removed


def take_back_deleted(ctx: Context, kept: Sequence[Result]) -> None:
    """Remove the files of results whose campaign was deleted after they were recorded, and before their files were stored.

    Raises:
        Unavailable: the database does not answer.
    """
    if not kept:
        return
    with ctx.store.read() as session:
        there = campaigns.existing(session, {report.campaign_id for report in kept})
    for report in kept:
        if report.campaign_id not in there:
            try:
                take_back(ctx, places(ctx, report))
            except OSError as error:
                log.warning("the files of %s, which was deleted, stay: %s", report.job_id, error)


def take_back(ctx: Context, paths: Iterable[Path]) -> None:
    """Remove files that were written for a campaign which was deleted meanwhile, and the folders that become empty."""
    for path in paths:
        path.unlink(missing_ok=True)
        for folder in path.parents:
            if folder == ctx.settings.outputs_dir or not folder.is_relative_to(ctx.settings.outputs_dir):
                break
            with contextlib.suppress(OSError):  # it is not empty, or another process removed it
                folder.rmdir()
