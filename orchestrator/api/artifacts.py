"""A worker's large files: sent in pieces that can be taken up again, checked by their hash when they are whole."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path as FilePath
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Path
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from orchestrator.api.bodies import RawBody
from orchestrator.api.context import Ctx
from orchestrator.api.errors import documented
from orchestrator.api.ids import JobId
from orchestrator.operations.artifacts import upload_path
from orchestrator.operations.context import Context
from orchestrator.store import jobs
from shared.errors import BadRequest, Conflict, InvalidInput, TooLarge
from shared.jobs import TERMINAL, JobStatus

router = APIRouter(prefix="/api", tags=["artifacts"])

MAX_BYTES = 2**30  # of one artifact: 10^8 samples of 8 bytes, and room
_RANGE = re.compile(r"bytes ([0-9]{1,12})-([0-9]{1,12})/([0-9]{1,12})")
_DIGEST = "^[sS][hH][aA]-256=[A-Za-z0-9+/]{43}=$"
_BYTES = {"requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}}

Attempt = Annotated[int, Path(ge=1, le=2**31 - 1)]
Name = Literal["samples.npz", "log.jsonl"]


class Received(BaseModel):
    offset: int
    total: int
    complete: bool


@router.head("/jobs/{job_id}/attempts/{attempt}/artifacts/{name}", responses=documented(404, 409, 422))
def get_offset(ctx: Ctx, job_id: JobId, attempt: Attempt, name: Name) -> Response:
    """How much is there already, in `Upload-Offset`."""
    whole = _target(ctx, job_id, attempt, name)
    return Response(headers={"Upload-Offset": str(_received(whole))})


@router.put(
    "/jobs/{job_id}/attempts/{attempt}/artifacts/{name}",
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
    digest: Annotated[str, Header(description="`sha-256=<base64>` of the whole file", json_schema_extra={"pattern": _DIGEST})],
    content_range: Annotated[str, Header(description="`bytes first-last/total`", json_schema_extra={"pattern": f"^{_RANGE.pattern}$"})],
) -> JSONResponse:
    """Send the next piece. It has to begin where the last one ended, or at 0 to start again."""
    first, total = _range(content_range, len(body))
    expected = _sha256(digest)
    whole = _target(ctx, job_id, attempt, name)
    _add(whole, body, first, total)
    complete = first + len(body) == total
    if complete:
        _finish(whole, expected)
    return JSONResponse({"offset": first + len(body), "total": total, "complete": complete})


def _target(ctx: Context, job_id: str, attempt: int, name: str) -> FilePath:
    """Where the whole file goes.

    Raises:
        Conflict: the job has ended, or this attempt was never issued: nobody will ask for the file.
    """
    with ctx.store.read() as session:
        job = jobs.get(session, job_id)
        if JobStatus(job.status) in TERMINAL:
            raise Conflict(f"job {job_id} is {job.status}; its files are not wanted any more")
        if attempt > job.attempt:
            raise Conflict(f"job {job_id} is at attempt {job.attempt}; there is no attempt {attempt}")
        return upload_path(ctx, job.campaign_id, job_id, attempt, name)


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


def _part(whole: FilePath) -> FilePath:
    return whole.with_name(whole.name + ".part")


def _received(whole: FilePath) -> int:
    for path in (whole, _part(whole)):
        if path.is_file():
            return path.stat().st_size
    return 0


def _add(whole: FilePath, piece: bytes, first: int, total: int) -> None:
    part = _part(whole)
    there = part.stat().st_size if part.is_file() else 0
    if first not in (0, there):
        raise Conflict(f"the piece begins at {first}, and {there} bytes are there; HEAD tells where to go on")
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("r+b" if first else "wb") as file:
        file.seek(first)
        file.write(piece)
        file.truncate(min(first + len(piece), total))


def _finish(whole: FilePath, expected: str) -> None:
    part = _part(whole)
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        part.unlink()
        raise InvalidInput(f"what arrived has the SHA-256 {found}, not {expected}; send it again from the beginning")
    part.replace(whole)
