"""Serves the logs of a campaign: line by line, followed while it runs, or as one archive."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import anyio
from anyio import to_thread
from fastapi import APIRouter, Query
from starlette.concurrency import iterate_in_threadpool
from starlette.responses import StreamingResponse

from orchestrator.api.context import Ctx
from orchestrator.api.errors import documented
from orchestrator.api.ids import CampaignId
from orchestrator.api.times import Moment
from orchestrator.operations.logs import CampaignLogs, Wanted, archive
from shared.ids import JOB_ID, WORKER_ID
from shared.log import LogSource

router = APIRouter(prefix="/api", tags=["logs"])

LOOK_S = 1.0  # the time between two looks for new lines
ALIVE_S = 10.0  # an empty line is sent at least this often, to show that the connection is alive
MAX_TAIL = 100_000

_LINES: dict[str, Any] = {
    "description": "One JSON object a line: `time level source campaign job attempt worker message`. Skip empty lines.",
    "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
}
_ARCHIVE: dict[str, Any] = {
    "description": "A .tar.gz of `logs/` and `history.jsonl`.",
    "content": {"application/gzip": {"schema": {"type": "string", "format": "binary"}}},
}


@router.get("/campaigns/{campaign_id}/logs", response_class=StreamingResponse, responses=documented(404, 422) | {200: _LINES})
def get_logs(
    ctx: Ctx,
    campaign_id: CampaignId,
    level: Annotated[Literal["debug", "info", "warning", "error"] | None, Query(description="the least level")] = None,
    source: Annotated[list[LogSource] | None, Query(description="may be given several times")] = None,
    job: Annotated[str | None, Query(pattern=f"^{JOB_ID.pattern}$", description="the lines of one job")] = None,
    worker: Annotated[str | None, Query(pattern=f"^{WORKER_ID.pattern}$", description="the lines of one worker")] = None,
    search: Annotated[str | None, Query(min_length=1, max_length=200, description="a text in the message, in any case")] = None,
    since: Annotated[Moment | None, Query(description="lines of this moment and later")] = None,
    tail: Annotated[int | None, Query(ge=1, le=MAX_TAIL, description="only this number of lines, the newest, in the order of time")] = None,
    follow: Annotated[bool, Query(description="go on with new lines until the campaign has ended")] = False,
) -> StreamingResponse:
    """Stream the log lines of a campaign's jobs, job by job. A worker sends the lines of an attempt when the attempt has ended."""
    logs = CampaignLogs(ctx, campaign_id, Wanted(level, tuple(source or ()), job, worker, search, since))
    first = logs.tail(tail) if tail is not None else []
    content: Any = _followed(logs, first) if follow else iter(first) if tail is not None else logs.new_lines()
    return StreamingResponse(content, media_type="application/x-ndjson", headers={"Cache-Control": "no-store"})


async def _followed(logs: CampaignLogs, first: list[bytes]) -> AsyncIterator[bytes]:
    """Yield lines as they come. Between two looks no thread waits."""
    yield b"".join(first)
    quiet_s = 0.0
    while True:
        ended = await to_thread.run_sync(logs.has_ended)  # before the last look, so that it finds every line
        quiet_s += LOOK_S
        async for line in iterate_in_threadpool(logs.new_lines()):
            quiet_s = 0.0
            yield line
        if ended:
            return
        if quiet_s >= ALIVE_S:
            quiet_s = 0.0
            yield b"\n"
        await anyio.sleep(LOOK_S)


@router.get("/campaigns/{campaign_id}/logs.tar.gz", response_class=StreamingResponse, responses=documented(404) | {200: _ARCHIVE})
def get_logs_archive(ctx: Ctx, campaign_id: CampaignId) -> StreamingResponse:
    """Download all logs of a campaign, and the history of each of its jobs, as one archive."""
    headers = {"Content-Disposition": f'attachment; filename="{campaign_id}_logs.tar.gz"'}
    return StreamingResponse(archive(ctx, campaign_id), media_type="application/gzip", headers=headers)
