"""Serves the results: a campaign's rows as a file, and the files under `outputs/`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query
from pydantic import BaseModel
from sqlmodel import col
from starlette.responses import JSONResponse, StreamingResponse

from orchestrator.api.context import Ctx
from orchestrator.api.errors import documented
from orchestrator.api.files import BYTES, PART, SentFile
from orchestrator.api.ids import CampaignId
from orchestrator.api.times import text_of_epoch
from orchestrator.domain.stored import NotJson
from orchestrator.operations.context import Context
from orchestrator.operations.rows import row_of
from orchestrator.reports.columns import Row, whole_row
from orchestrator.reports.formats import FORMATS, table_format
from orchestrator.reports.tables import csv_line, stream_csv_lines
from orchestrator.store import campaigns, job_lists, results
from orchestrator.store.tables import Job, ResultRow
from shared.errors import NotFound

T = TypeVar("T")

router = APIRouter(prefix="/api", tags=["results"])

_FILE: dict[str, Any] = {"content": BYTES, "description": "The file."}
_TABLE = {
    "description": "One row a job that has ended.",
    "content": {
        "text/csv": {"schema": {"type": "string"}},
        "application/json": {"schema": {"type": "array", "items": {"type": "object"}}},
        "application/x-ndjson": {"schema": {"type": "string"}},
        "application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}},
    },
}


class ResultFile(BaseModel):
    filename: str
    size_mb: float
    modified: str


class ResultFiles(BaseModel):
    count: int
    files: list[ResultFile]


@router.get(
    "/campaigns/{campaign_id}/results",
    response_class=StreamingResponse,
    responses=documented(404, 422) | {200: _TABLE},
)
def get_results(
    ctx: Ctx,
    campaign_id: CampaignId,
    format: Annotated[str, Query(max_length=20, json_schema_extra={"enum": list(FORMATS)})] = "csv",  # noqa: A002 (the contract's name)
) -> StreamingResponse:
    """Stream the rows of the jobs that have ended. While a campaign runs, this is only a part of its jobs.

    `excel` is CSV for spreadsheets with a European locale: semicolons, decimal commas and a byte order mark.
    """
    table = table_format(format)
    with ctx.store.read() as session:
        total = campaigns.get(session, campaign_id).total_jobs
    if format == "csv":
        content = stream_csv_lines(_begun(_lines(ctx, campaign_id, total)))
    else:
        content = table.stream(_begun(_rows(ctx, campaign_id, total)))
    headers = {"Content-Disposition": f'attachment; filename="{campaign_id}_results.{table.suffix}"'}
    return StreamingResponse(content, media_type=table.media_type, headers=headers)


def _begun(rows: Iterator[T]) -> Iterator[T]:
    """Read the first row now and return all rows. An error then still becomes an error answer, which it cannot in mid-stream."""
    return chain(list(islice(rows, 1)), rows)


def _lines(ctx: Context, campaign_id: str, total: int) -> Iterator[str]:
    for kept, made in _ended(ctx, campaign_id, col(ResultRow.line), total):
        yield kept if made is None else csv_line(made)


def _rows(ctx: Context, campaign_id: str, total: int) -> Iterator[Row]:
    for kept, made in _ended(ctx, campaign_id, col(ResultRow.row), total):
        yield whole_row(kept) if made is None else made


def _ended(ctx: Context, campaign_id: str, column: Any, total: int) -> Iterator[tuple[Any, Row | None]]:
    """Yield for each ended job its stored column and None, or None and a new row if the job has no result or its row is damaged.

    Each page has its own session, so a slow reader holds no connection to the database.

    Raises:
        NotFound: the campaign was deleted meanwhile. This breaks the answer off, as a part of the rows must not look like all of them.
    """
    for after in range(0, total, results.PAGE):
        with ctx.store.read() as session:
            campaigns.get(session, campaign_id)
            page = results.ended_page(session, campaign_id, col(Job.number), column, after=after)
            unanswered = [number for number, kept in page if kept is None or isinstance(kept, NotJson)]
            made = {}
            if unanswered:
                varied = ctx.varied.of(session, [campaign_id])[campaign_id]
                made = {number: row_of(job, varied) for number, job in job_lists.by_number(session, campaign_id, unanswered).items()}
        yield from ((kept, made.get(number)) for number, kept in page)


@router.get("/results/files", name="list_result_files", response_model=ResultFiles)
def list_files(ctx: Ctx) -> JSONResponse:
    """List the files directly in `outputs/`, newest first."""
    folder = ctx.settings.outputs_dir
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        try:
            state = path.lstat()
        except FileNotFoundError:
            continue  # the file was removed after the folder was listed
        if path.is_file() and not path.is_symlink() and not path.name.startswith("."):
            found.append((state.st_mtime, path.name, state.st_size))
    files = [
        {"filename": name, "size_mb": round(size / 2**20, 6), "modified": text_of_epoch(modified)}
        for modified, name, size in sorted(found, reverse=True)
    ]
    return JSONResponse({"count": len(files), "files": files})


@router.get(
    "/results/download/{filename:path}",
    name="download_result_file",
    response_class=SentFile,
    responses=documented(404, 416) | {200: _FILE} | PART,
)
def download(ctx: Ctx, filename: str) -> SentFile:
    """Download a file directly in `outputs/` by its name."""
    return SentFile(_plain_file(ctx.settings.outputs_dir, filename), filename=filename)


def _plain_file(folder: Path, name: str) -> Path:
    """Return the path of a file directly in this folder.

    Raises:
        NotFound: the name contains a path, or it is hidden, a link, or not a file.
    """
    path = folder / name
    plain = name and not name.startswith(".") and not set(name) & set("/\\\0") and path.parent == folder
    try:
        if plain and path.is_file() and not path.is_symlink():
            return path
    except OSError:  # for example a name that is too long
        pass
    raise NotFound(f"there is no file {name!r:.200} among the results; GET /api/results/files lists them")
