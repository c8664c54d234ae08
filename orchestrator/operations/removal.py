"""Removes campaigns that have ended, with their files, and uploaded models that no job names.

The rows of a campaign are deleted in one transaction. Its files follow. If the process is killed in between, a mark in the campaign's
folder tells the next sweep (`leftovers`) that the files may go. Files without such a mark are never removed, because their rows may only
be missing from a database that was restored from a backup.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlmodel import Session

from orchestrator.operations.context import Context
from orchestrator.operations.models import path_of
from orchestrator.store import campaigns, models
from orchestrator.store.tables import Campaign, ModelFile
from shared.errors import IllegalTransition, NotFound
from shared.ids import CAMPAIGN_ID, first_campaign_id
from shared.jobs import CampaignStatus

log = logging.getLogger(__name__)

MARK = ".removed"  # an empty file in the folder of a campaign whose rows are being deleted
MARK_AGE_S = 600.0  # a younger mark may belong to a removal that is under way
SCAN_MARGIN = timedelta(hours=1)  # a submission may have chosen its id this long before it was committed
RESET_MARK = ".reset"  # an empty file in the outputs folder: campaigns from before its time may have gone with a reset
RESET_LASTS = timedelta(hours=1)  # a reset may wait so long for transactions that are under way


@dataclass(frozen=True)
class Removed:
    """Says what went with a campaign.

    Attributes:
        size: what its files held, in bytes.
        left: why files could not be removed; empty if all of them are gone. The orchestrator tries again within the hour.
    """

    campaign_id: str
    name: str
    ended_at: datetime | None
    jobs: int
    size: int
    left: str = ""


def remove_campaign(ctx: Context, campaign_id: str) -> Removed:
    """Delete a campaign that has ended: its jobs, results, history and files.

    Raises:
        NotFound: there is no such campaign.
        IllegalTransition: the campaign is running. Nothing was deleted.
        Unavailable: the database does not answer. Nothing was deleted.
        OSError: its folder cannot be written. Nothing was deleted.
    """
    with ctx.store.read() as session:
        campaign = campaigns.get(session, campaign_id)
        _require_ended(campaign)
        session.expunge(campaign)
    size = size_of(ctx, campaign_id)
    _mark(ctx, campaign_id)

    def write(session: Session) -> None:
        if not campaigns.delete_ended(session, campaign_id):
            _require_ended(campaigns.get(session, campaign_id))

    try:
        ctx.store.transact(write)
    except IllegalTransition:
        _mark_of(ctx, campaign_id).unlink(missing_ok=True)  # one of its jobs was retried in the meantime
        raise
    left = ""
    try:
        remove_files(ctx, campaign_id)
    except OSError as error:
        left = _without_folder(ctx, error)
        log.warning("%s is removed, but not all of its files: %s; they are tried again", campaign_id, error)
    log.info("removed %s: %d jobs, %d bytes", campaign_id, campaign.total_jobs, size)
    return Removed(campaign.id, campaign.name, campaign.ended_at, campaign.total_jobs, size, left)


def _without_folder(ctx: Context, error: OSError) -> str:
    """Return why a file cannot be removed, for an answer of the API, which does not say where the outputs folder is."""
    file = Path(error.filename) if error.filename else None
    if file is not None and file.is_relative_to(ctx.settings.outputs_dir):
        return f"{file.relative_to(ctx.settings.outputs_dir)} cannot be removed: {error.strerror}"
    return error.strerror or type(error).__name__


def _require_ended(campaign: Campaign) -> None:
    if campaign.status == CampaignStatus.RUNNING:
        raise IllegalTransition(
            f"campaign {campaign.id} is running; cancel it first (POST /api/campaigns/{campaign.id}/cancel, fleetmark stop {campaign.id})"
        )


def files_of(ctx: Context, campaign_id: str) -> list[Path]:
    """Return the folder of a campaign and its CSV files beside it, as far as they exist."""
    outputs = ctx.settings.outputs_dir
    return [path for path in (outputs / campaign_id, *outputs.glob(f"{campaign_id}_*_results.csv")) if path.exists()]


def size_of(ctx: Context, campaign_id: str) -> int:
    """Return how many bytes the files of a campaign hold."""
    return sum(_sizes(files_of(ctx, campaign_id)))


def _sizes(paths: list[Path]) -> Iterator[int]:
    for path in paths:
        files = (Path(folder, name) for folder, _, names in os.walk(path) for name in names) if path.is_dir() else iter((path,))
        for file in files:
            try:
                yield file.lstat().st_size
            except FileNotFoundError:  # a file of another process, such as an upload that has just arrived
                continue


def remove_files(ctx: Context, campaign_id: str) -> None:
    """Remove the files of a campaign that no longer has rows. The mark goes last, so a removal that is cut short can be finished.

    Raises:
        OSError: a file cannot be removed.
    """
    for path in files_of(ctx, campaign_id):
        if path.is_dir() and not path.is_symlink():
            for inner in path.iterdir():
                if inner.name != MARK:
                    _remove(inner)
        else:
            path.unlink(missing_ok=True)
    folder = ctx.settings.outputs_dir / campaign_id
    if folder.is_symlink():
        folder.unlink()
    elif folder.is_dir():
        (folder / MARK).unlink(missing_ok=True)
        try:
            folder.rmdir()
        except FileNotFoundError:  # another call was faster
            return
        except OSError:  # a file has come in the meantime; the mark tells the next sweep to go on
            _mark(ctx, campaign_id)
            raise


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _mark_of(ctx: Context, campaign_id: str) -> Path:
    return ctx.settings.outputs_dir / campaign_id / MARK


def _mark(ctx: Context, campaign_id: str) -> None:
    mark = _mark_of(ctx, campaign_id)
    if mark.parent.is_dir():
        with mark.open("wb") as file:
            os.fsync(file.fileno())


def finish_removals(ctx: Context) -> int:
    """Remove the files of campaigns whose removal was cut short after their rows were deleted. Return for how many that was done.

    Raises:
        Unavailable: the database does not answer.
    """
    before, finished = ctx.clock.now().timestamp() - MARK_AGE_S, 0
    for mark in ctx.settings.outputs_dir.glob(f"campaign-*/{MARK}"):
        campaign_id = mark.parent.name
        if not CAMPAIGN_ID.fullmatch(campaign_id):
            continue
        try:
            if mark.stat().st_mtime > before:
                continue
            if _exists(ctx, campaign_id):  # the removal was cut short before its transaction, so the campaign stays
                mark.unlink(missing_ok=True)
                continue
            remove_files(ctx, campaign_id)
            finished += 1
        except OSError as error:
            log.warning("the files of %s, which is removed, cannot be removed: %s", campaign_id, error)
    return finished


def _exists(ctx: Context, campaign_id: str) -> bool:
    try:
        with ctx.store.read() as session:
            campaigns.get(session, campaign_id)
    except NotFound:
        return False
    return True


def remove_files_of_unknown(ctx: Context, campaign_ids: list[str]) -> None:
    """Remove what was just written for campaigns that were removed in the meantime. What a reset has forgotten keeps its files.

    Raises:
        OSError: a file cannot be removed.
        Unavailable: the database does not answer.
    """
    for campaign_id in campaign_ids:
        if not _exists(ctx, campaign_id) and not _may_be_reset(ctx, campaign_id):
            remove_files(ctx, campaign_id)


def note_reset(ctx: Context, *, done: bool) -> None:
    """Note that all campaigns are about to lose their rows, or have lost them (`done`), and that their files stay."""
    until = (ctx.clock.now() + (timedelta() if done else RESET_LASTS)).timestamp()
    mark = ctx.settings.outputs_dir / RESET_MARK
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
        os.utime(mark, (until, until))
    except OSError as error:
        log.warning("a campaign that ends during this reset may lose its files: %s", error)


def _may_be_reset(ctx: Context, campaign_id: str) -> bool:
    try:
        until = (ctx.settings.outputs_dir / RESET_MARK).stat().st_mtime
    except FileNotFoundError:
        return False
    return campaign_id < first_campaign_id(datetime.fromtimestamp(until, UTC) + timedelta(seconds=1))


def old_campaigns(ctx: Context, before: datetime, *, limit: int) -> list[Removed]:
    """Return the campaigns that ended before this moment, oldest first, with the size of their files. Nothing is removed."""
    with ctx.store.read() as session:
        found = campaigns.ended_before(session, before, limit=limit)
        session.expunge_all()
    return [Removed(one.id, one.name, one.ended_at, one.total_jobs, size_of(ctx, one.id)) for one in found]


def unused_models(ctx: Context, before: datetime) -> list[ModelFile]:
    """Return the uploaded models that no job names, and that nobody has uploaded since this moment."""
    with ctx.store.read() as session:
        old = models.created_before(session, before)
        used = models.used(session) if old else set()
        session.expunge_all()
    return [one for one in old if one.sha256 not in used and not _is_young(path_of(ctx, one.sha256), before)]


def _is_young(path: Path, before: datetime) -> bool:
    try:
        return path.stat().st_mtime >= before.timestamp()
    except FileNotFoundError:
        return False


def remove_model(ctx: Context, sha256: str, before: datetime, scanned_at: datetime) -> bool:
    """Remove an uploaded model, unless a campaign names it by now or it was uploaded again. Return whether it was removed.

    Args:
        scanned_at: when `unused_models` read the jobs. Only campaigns that may have been submitted since then are read again.

    Raises:
        OSError: the file cannot be removed. The model stays.
        Unavailable: the database does not answer.
    """
    since = first_campaign_id(scanned_at - SCAN_MARGIN)
    path = path_of(ctx, sha256)

    def write(session: Session) -> bool:
        if not models.lock_for_removal(session, sha256) or sha256 in models.used(session, since=since) or _is_young(path, before):
            return False
        models.delete(session, sha256)
        path.unlink(missing_ok=True)  # while the row is locked; if the commit fails, the next removal finds the row without its file
        return True

    return ctx.store.transact(write)
