"""Serves the files of one campaign: the report, the summary, and everything else in its folder under `outputs/`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from heapq import nsmallest
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from orchestrator.api.context import Ctx
from orchestrator.api.errors import documented
from orchestrator.api.files import BYTES, PART, SentFile
from orchestrator.api.ids import CampaignId
from orchestrator.api.pages import Limit
from orchestrator.api.times import text_of_epoch
from orchestrator.operations.context import Context
from orchestrator.store import campaigns
from shared.errors import Conflict, NotFound
from shared.jobs import CampaignStatus

router = APIRouter(prefix="/api", tags=["results"])

MAX_NAME = 1_024
_FILE: dict[str, Any] = {"content": BYTES, "description": "The file."}
_MARKDOWN: dict[str, Any] = {"content": {"text/markdown": {"schema": {"type": "string"}}}, "description": "The page, or a part of it."}
_DATA: dict[str, Any] = {"content": {"application/json": {"schema": {"type": "object"}}}, "description": "The file, or a part of it."}


class ArtifactFile(BaseModel):
    name: str = Field(description="its path in the campaign's folder, such as `plots/medians.png`")
    size: int = Field(description="in bytes")
    modified: str


class Artifacts(BaseModel):
    count: int
    artifacts: list[ArtifactFile]
    next_cursor: str | None


@router.get("/campaigns/{campaign_id}/artifacts", response_model=Artifacts, responses=documented(404, 422))
def list_artifacts(
    ctx: Ctx,
    campaign_id: CampaignId,
    limit: Limit = 100,
    cursor: Annotated[str | None, Query(max_length=MAX_NAME, description="the `next_cursor` of the previous page")] = None,
) -> JSONResponse:
    """List the files of a campaign by name: raw samples and logs as they come in, and the reports once it has ended."""
    _require(ctx, campaign_id)
    folder = ctx.settings.outputs_dir / campaign_id
    names = nsmallest(limit + 1, (name for name in _names(folder) if cursor is None or name > cursor))
    found = []
    for name in names[:limit]:
        try:
            state = (folder / name).lstat()
        except FileNotFoundError:
            continue  # the file was removed after the folder was listed
        found.append({"name": name, "size": state.st_size, "modified": text_of_epoch(state.st_mtime)})
    more = names[limit - 1] if len(names) > limit else None
    return JSONResponse({"count": len(found), "artifacts": found, "next_cursor": more})


def _names(folder: Path) -> Iterator[str]:
    """Yield the path of each file in a folder and its subfolders. Hidden files (uploads, partial files) and links are left out."""
    for at, folders, files in os.walk(folder):
        here = Path(at)
        folders[:] = filter(_is_plain, folders)
        yield from ((here / name).relative_to(folder).as_posix() for name in files if _is_plain(name) and not (here / name).is_symlink())


def _is_plain(part: str) -> bool:
    """Return whether a part of a path names a visible file or folder, and nothing else."""
    return bool(part) and not part.startswith(".") and not set(part) & set("\\:") and part.isprintable()


@router.get(
    "/campaigns/{campaign_id}/artifacts/{name:path}",
    name="download_artifact",
    response_class=SentFile,
    responses=documented(404, 416) | {200: _FILE} | PART,
)
def get_artifact(ctx: Ctx, campaign_id: CampaignId, name: str) -> SentFile:
    """Download one file of a campaign by its name in the list."""
    path = _artifact(ctx, campaign_id, name)
    if path is None:
        raise NotFound(f"campaign {campaign_id} has no file {name!r:.200}; GET /api/campaigns/{campaign_id}/artifacts lists them")
    return SentFile(path, media_type="application/octet-stream", filename=path.name)


def _artifact(ctx: Context, campaign_id: str, name: str) -> Path | None:
    """Return the path of a campaign's file. None if the name leads elsewhere, is hidden or a link, or if there is no such file."""
    _require(ctx, campaign_id)
    folder = ctx.settings.outputs_dir / campaign_id
    parts = name.split("/")
    if not all(map(_is_plain, parts)):
        return None
    path = folder.joinpath(*parts)
    try:
        links = any(step.is_symlink() for step in (path, *path.parents) if step.is_relative_to(folder))
        return path if path.is_file() and not links else None
    except OSError:  # for example a name that is too long
        return None


def _require(ctx: Context, campaign_id: str) -> None:
    with ctx.store.read() as session:
        campaigns.get(session, campaign_id)


def _written(ctx: Context, campaign_id: str, name: str) -> Path:
    """Return a file that is written when a campaign ends.

    Raises:
        Conflict: it is not written yet.
        NotFound: there is no such campaign, or its file was removed.
    """
    with ctx.store.read() as session:
        campaign = campaigns.get(session, campaign_id)
        status, left = campaign.status, campaign.pending_jobs + campaign.running_jobs
        reported = campaign.reported_at is not None
    if status == CampaignStatus.RUNNING:
        raise Conflict(f"campaign {campaign_id} is running, {left} of its jobs have not ended: {name} is written when all have")
    if not reported:
        raise Conflict(f"the files of campaign {campaign_id} are being written: try again in a moment")
    path = _artifact(ctx, campaign_id, name)
    if path is None:
        raise NotFound(f"{name} of campaign {campaign_id} is gone from the orchestrator's outputs folder")
    return path


_PAGE: Any = documented(404, 409, 416) | {200: _MARKDOWN, 206: _MARKDOWN}
_JSON: Any = documented(404, 409, 416) | {200: _DATA, 206: _DATA}


@router.get("/campaigns/{campaign_id}/report", response_class=SentFile, responses=_PAGE)
@router.get("/campaigns/{campaign_id}/report.md", name="get_report_markdown", response_class=SentFile, responses=_PAGE)
def get_report(ctx: Ctx, campaign_id: CampaignId) -> SentFile:
    """Read the page of a campaign that has ended, as Markdown. Its pictures are artifacts."""
    return SentFile(_written(ctx, campaign_id, "report.md"), media_type="text/markdown")


@router.get("/campaigns/{campaign_id}/report.json", response_class=SentFile, responses=_JSON)
def get_report_json(ctx: Ctx, campaign_id: CampaignId) -> SentFile:
    """Read the content of the page of a campaign that has ended, as data."""
    return SentFile(_written(ctx, campaign_id, "report.json"), media_type="application/json")


@router.get("/campaigns/{campaign_id}/summary", response_class=SentFile, responses=_JSON)
def get_summary(ctx: Ctx, campaign_id: CampaignId) -> SentFile:
    """Read the figures of a campaign that has ended: `summary.json`."""
    return SentFile(_written(ctx, campaign_id, "summary.json"), media_type="application/json")
