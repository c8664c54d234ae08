"""Receives a worker's large files in pieces. An upload can be resumed, and a complete file is checked by its hash."""

from __future__ import annotations

import base64
import re
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Path
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from orchestrator.api.bodies import RawBody
from orchestrator.api.context import Ctx
from orchestrator.api.errors import documented
from orchestrator.api.ids import JobId
from orchestrator.operations.artifacts import is_lacking
from orchestrator.operations.context import Context
from orchestrator.operations.uploads import Upload
from orchestrator.store import jobs, results
from shared.errors import BadRequest, Conflict, TooLarge
from shared.jobs import TERMINAL, JobStatus

router = APIRouter(prefix="/api", tags=["artifacts"])

MAX_BYTES = 2**30  # the limit of one artifact: 10^8 samples of 8 bytes, and some room
_RANGE = re.compile(r"bytes ([0-9]{1,12})-([0-9]{1,12})/([0-9]{1,12})")
_DIGEST = "^[sS][hH][aA]-256=[A-Za-z0-9+/]{43}=$"
_BYTES = {"requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}}

Attempt = Annotated[int, Path(ge=1, le=2**31 - 1)]
Name = Literal["samples.npz", "telemetry.npz", "requests.bin", "outputs.jsonl", "log.jsonl"]  # those of `ACCEPTED`


class Received(BaseModel):
    offset: int
    total: int
    complete: bool


@router.head("/jobs/{job_id}/attempts/{attempt}/artifacts/{name}", name="get_upload_offset", responses=documented(404, 409, 422))
def get_offset(ctx: Ctx, job_id: JobId, attempt: Attempt, name: Name) -> Response:
    """Say in `Upload-Offset` how many bytes have arrived."""
    return Response(headers={"Upload-Offset": str(_upload(ctx, job_id, attempt, name).received())})


@router.put(
    "/jobs/{job_id}/attempts/{attempt}/artifacts/{name}",
    name="upload_artifact",
    response_model=Received,
    responses=documented(400, 404, 409, 413, 422),
    openapi_extra=_BYTES,
)
def put_piece(
    ctx: Ctx,
    job_id: JobId,
    attempt: Attempt,
    name: Name,
    body: RawBody,
    digest: Annotated[str, Header(description="the hash of the whole file, as `sha-256=<base64>`", json_schema_extra={"pattern": _DIGEST})],
    content_range: Annotated[
        str, Header(description="which bytes these are, as `bytes first-last/total`", json_schema_extra={"pattern": f"^{_RANGE.pattern}$"})
    ],
) -> JSONResponse:
    """Send the next piece. It must begin where the last one ended, or at 0 to start again."""
    first, total = _range(content_range, len(body))
    expected = _sha256(digest)
    upload = _upload(ctx, job_id, attempt, name)
    upload.add(body, first, total)
    complete = first + len(body) == total
    if complete:
        upload.finish(expected)
    return JSONResponse({"offset": first + len(body), "total": total, "complete": complete})


def _upload(ctx: Context, job_id: str, attempt: int, name: str) -> Upload:
    """Return the upload that collects this file.

    Raises:
        Conflict: the file is not wanted: the job has ended with another attempt or has the file already, or the attempt was never issued.
    """
    with ctx.store.read() as session:
        job = jobs.get(session, job_id)
        known = results.get(session, job_id)
    awaited = attempt == job.attempt and job.status == JobStatus.CANCELLED  # the files of what was measured until then come first
    if known is not None:
        awaited = known.attempt == attempt and is_lacking(ctx, known, name)
    if JobStatus(job.status) in TERMINAL and not awaited:
        raise Conflict(f"job {job_id} is {job.status}; its files are not wanted any more")
    if attempt > job.attempt:
        raise Conflict(f"job {job_id} is at attempt {job.attempt}; there is no attempt {attempt}")
    return Upload(ctx, job_id, attempt, name)


def _range(text: str, length: int) -> tuple[int, int]:
    found = _RANGE.fullmatch(text)
    if found is None:
        raise BadRequest(f"Content-Range {text!r:.100} is not `bytes first-last/total`")
    first, last, total = (int(part) for part in found.groups())
    if total > MAX_BYTES:
        raise TooLarge(f"the file is {total} bytes; at most {MAX_BYTES} are accepted")
    if last - first + 1 != length or last >= total:
        raise BadRequest(f"Content-Range {text!r:.100} does not fit a body of {length} bytes")
    return first, total


def _sha256(digest: str) -> str:
    algorithm, _, value = digest.partition("=")
    try:
        raw = base64.b64decode(value, validate=True)
    except ValueError:  # not base64, or not even ASCII
        raw = b""
    if algorithm.lower() != "sha-256" or len(raw) != 32:
        raise BadRequest(f"Digest {digest!r:.100} is not `sha-256=<base64 of 32 bytes>`")
    return raw.hex()
