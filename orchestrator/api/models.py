"""Serves the calls about models: upload one, and download one by the hash of its content."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import JSONResponse

from orchestrator.api.context import Ctx
from orchestrator.api.errors import documented
from orchestrator.api.files import BYTES, PART, SentFile
from orchestrator.api.ids import Sha256
from orchestrator.operations.context import Context
from orchestrator.operations.models import Incoming, Stored, path_of
from orchestrator.store import results
from shared.errors import BadRequest, NotFound
from shared.ids import SHA256
from shared.sources import MAX_NAME

router = APIRouter(prefix="/api", tags=["models"])

PIECE_BYTES = 2**20
NAME = r"^[^/\x00-\x1f\x7f-\x9f\u2028\u2029]+$"  # a file's name: one line of text without a path

_UPLOAD: dict[str, Any] = {"requestBody": {"required": True, "content": BYTES}}
_FILE = {"description": "The model's bytes; ranges are served.", "content": BYTES}


class Uploaded(BaseModel):
    sha256: str
    size: int
    name: str
    source: str


@router.post(
    "/models",
    name="upload_model",
    status_code=201,
    response_model=Uploaded,
    responses=documented(400, 413, 422),
    openapi_extra=_UPLOAD,
)
async def upload(
    ctx: Ctx,
    request: Request,
    name: Annotated[str, Query(min_length=1, max_length=MAX_NAME, pattern=NAME, description="the file name that reports show")],
    sha256: Annotated[
        str | None,
        Query(pattern=f"^{SHA256.pattern}$", description="the SHA-256 that the content must have; other content is refused and not stored"),
    ] = None,
) -> JSONResponse:
    """Send a model's bytes as the body: `curl --data-binary @model.onnx '…/api/models?name=model.onnx'`.

    The answer's `source` is what a campaign's `model_url`, or a recipe's `model`, names. Equal bytes are
    stored once. If they were uploaded before under another name, `source` includes the new name (`sha256:…?name=…`), and the earlier
    upload keeps its name.
    """
    if request.headers.get("content-type", "").startswith("multipart/"):
        raise BadRequest("send the model's bytes as they are (curl --data-binary @model.onnx), not as a form (curl -F)")
    stored = await _taken_in(ctx, request.stream(), name, sha256)
    return JSONResponse(asdict(stored), status_code=201, headers={"Location": f"/api/models/{stored.sha256}"})


async def _taken_in(ctx: Context, stream: AsyncIterator[bytes], name: str, promised: str | None) -> Stored:
    """Store a model from a stream. A thread hashes and writes each piece, but waiting for a piece uses no thread."""
    with await to_thread.run_sync(Incoming, ctx) as incoming:
        waiting = bytearray()
        async for piece in stream:
            waiting += piece
            if len(waiting) >= PIECE_BYTES:
                await to_thread.run_sync(incoming.add, bytes(waiting))
                waiting.clear()
        await to_thread.run_sync(incoming.add, bytes(waiting))
        return await to_thread.run_sync(incoming.store, name, promised)


@router.get("/models/{sha256}", name="download_model", response_class=SentFile, responses=documented(404, 416) | {200: _FILE} | PART)
@router.head("/models/{sha256}", name="check_model", response_class=SentFile, responses=documented(404, 416) | {200: _FILE} | PART)
def get_model(ctx: Ctx, sha256: Sha256) -> SentFile:
    """Download an uploaded model. `HEAD` says whether it exists."""
    with ctx.store.read() as session:
        name = results.model(session, sha256).name
    path = path_of(ctx, sha256)
    if not path.is_file():
        raise NotFound(f"the file of model {sha256} ({name}) is gone from the models folder; upload it again")
    return SentFile(path, media_type="application/octet-stream", filename=name)
