"""Turns every error into an answer of one shape: `{"error", "detail"}` and, for wrong input, `"fields"`."""

from __future__ import annotations

import errno
import logging
from collections.abc import Mapping
from typing import Any

import redis
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.routing import compile_path

from orchestrator.api.access import HEADER, request_id
from orchestrator.api.headers import SAFE
from shared.errors import BadRequest, FieldError, FleetmarkError, InvalidInput, TooManyFailures, TooSlow, Unauthorized, Unavailable
from shared.ids import CAMPAIGN_ID, JOB_ID, SHA256, WORKER_ID
from shared.masking import without_logins
from shared.protocol.outage import is_away, not_answering

log = logging.getLogger(__name__)

RETRY_AFTER_S = 5
LABEL = r"^[^=\x00]+=[^\x00]*$"  # the pattern of a label in a query
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})  # full, over quota, read-only
_MEANINGS = {
    400: "The request cannot be read.",
    401: "The call needs a token, and it has none or one that is not valid.",
    403: "The token's role does not allow this call, or a page of another origin sent it.",
    404: "What the path names does not exist.",
    408: "The body arrived too slowly.",
    409: "The present state does not allow this call.",
    413: "The body is larger than the limit.",
    416: "The requested range lies beyond the end of the file; `Content-Range` says how long the file is.",
    422: "Something in the request is not valid; `fields` says what.",
    429: "Too many wrong tokens came from this address; `Retry-After` says when to try again.",
    503: "Redis or the database does not answer, or a disk is full; try again.",
}


class FieldBody(BaseModel):
    path: str
    message: str


class ErrorBody(BaseModel):
    error: str = Field(examples=["InvalidInput"])
    detail: str = Field(description="what happened, and what to do about it")
    fields: list[FieldBody] | None = None


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the descriptions of a call's error answers. 408 is added to 413, as every body can also arrive too slowly."""
    if 413 in statuses:
        statuses = (*statuses, 408)
    return {status: {"model": ErrorBody, "description": _MEANINGS[status]} for status in statuses}


def answer(error: FleetmarkError) -> JSONResponse:
    """Return the response for an error."""
    headers = {}
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(RETRY_AFTER_S)
    elif isinstance(error, TooManyFailures):
        headers["Retry-After"] = str(error.retry_after_s)
    elif isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    elif isinstance(error, TooSlow):
        headers["Connection"] = "close"  # the rest of the body is not read
    return JSONResponse(_shown(error.body()), status_code=error.status, headers=headers)


def _shown(body: dict[str, Any]) -> dict[str, Any]:
    """Return an error's body with passwords removed from addresses. Messages may repeat an address of the caller or of our settings."""
    return {
        name: without_logins(value)
        if isinstance(value, str)
        else [{key: without_logins(text) for key, text in field.items()} for field in value]
        for name, value in body.items()
    }


def install_handlers(app: FastAPI) -> None:
    app.add_exception_handler(FleetmarkError, _fleetmark)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(redis.RedisError, _redis)
    app.add_exception_handler(OSError, _disk)
    app.add_exception_handler(ClientDisconnect, _left)
    app.add_exception_handler(DBAPIError, _database)
    app.add_exception_handler(Exception, _unexpected)


def _fleetmark(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, FleetmarkError)
    return answer(error)


def _validation(_: Request, error: Exception) -> JSONResponse:
    """Answer a query or path parameter that is not valid. Bodies are checked by `bodies.parse`."""
    assert isinstance(error, RequestValidationError)
    fields = [FieldError(".".join(str(part) for part in item["loc"]), _said(item)) for item in error.errors()]
    return answer(InvalidInput(f"{fields[0].path}: {fields[0].message}", fields=fields))


_WRITTEN_AS = {
    f"^{CAMPAIGN_ID.pattern}$": "no id of a campaign, which is `campaign-` and 18 small letters and digits",
    f"^{JOB_ID.pattern}$": "no id of a job, which is the id of its campaign, `-job-` and a number",
    f"^{WORKER_ID.pattern}$": "no id of a worker, which is `worker-` and small letters, digits and hyphens",
    f"^{SHA256.pattern}$": "no SHA-256, which is 64 hexadecimal digits in small letters",
    LABEL: "no label; write it as name=value",
}


def _said(item: Mapping[str, Any]) -> str:
    """Return one of pydantic's errors in words for people."""
    shown, meant = f"{item.get('input')!r:.80}", _WRITTEN_AS.get(item.get("ctx", {}).get("pattern", ""))
    if item["type"] == "missing":
        return "is required"
    if meant is not None:
        return f"{shown} is {meant}"
    return f"{str(item['msg']).removeprefix('Value error, ')}, not {shown}"


def _http(request: Request, error: Exception) -> JSONResponse:
    """Answer what the router itself refuses: an unknown path, or a method that a path does not have."""
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 404:
        body = {"error": "NotFound", "detail": f"there is no {request.url.path}; /docs lists what there is"}
    elif error.status_code == 405:
        headers["Allow"] = _allowed(request) or headers.get("Allow", "")
        body = {"error": "MethodNotAllowed", "detail": f"{request.url.path} does not take {request.method}; it takes {headers['Allow']}"}
    else:
        body = {"error": "BadRequest" if error.status_code < 500 else "ServerError", "detail": str(error.detail)}
    return JSONResponse(body, status_code=error.status_code, headers=headers)


def _allowed(request: Request) -> str:
    """Return every method of this path from the OpenAPI document. The router names only those of the first matching route."""
    paths: dict[str, Any] = request.app.openapi()["paths"]
    here = request.url.path  # a literal path takes precedence over one with a parameter in that place
    same = [here] if here in paths else [path for path in paths if compile_path(path)[0].match(here)]
    found = {method.upper() for path in same for method in paths[path]}
    return ", ".join(sorted(found))


def _redis(request: Request, error: Exception) -> JSONResponse:
    """Answer an error of Redis that the registry has not turned into one of ours."""
    assert isinstance(error, redis.RedisError)
    if is_away(error):
        return answer(Unavailable(not_answering("Redis", error)))
    return _unexpected(request, error)


def _disk(request: Request, error: Exception) -> JSONResponse:
    """Answer 503 if a disk is full or read-only. The folder is named only in the log. Other errors are ours."""
    assert isinstance(error, OSError)
    if error.errno not in NO_ROOM:
        return _unexpected(request, error)
    log.error("%s %s: %s, request %s", request.method, request.url.path, error, request_id.get())
    return answer(Unavailable(f"the orchestrator cannot store this ({error.strerror}): free some space there, then send it again"))


def _left(_: Request, __: Exception) -> JSONResponse:
    """Handle a client that disconnected before its body was complete. The answer is only for the log."""
    return answer(BadRequest("the connection ended before the body did"))


def _database(request: Request, error: Exception) -> JSONResponse:
    """Answer an error of the database that the store has not turned into one of ours: 503 for a lost connection, else 500."""
    assert isinstance(error, DBAPIError)
    if error.connection_invalidated:
        return answer(Unavailable("the connection to the database was lost; try again in a moment"))
    return _unexpected(request, error)


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    """Answer a defect of ours. The caller gets only the request id, under which the log has the details."""
    log.error("%s %s failed, request %s", request.method, request.url.path, request_id.get(), exc_info=error)
    detail = f"the orchestrator made a mistake; its log has it under request {request_id.get()}"
    return JSONResponse({"error": "ServerError", "detail": detail}, status_code=500, headers={HEADER: request_id.get(), **SAFE})
