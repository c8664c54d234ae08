"""One line of log, one id and one count a request."""

from __future__ import annotations

import logging
import re
import secrets
from contextvars import ContextVar
from typing import Protocol

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.api.roles import caller_of
from shared.clock import Clock

log = logging.getLogger(__name__)

HEADER = "X-Request-Id"
_FREQUENT = ("/health", "/heartbeat", "/metrics")  # asked every few seconds by machines: logged when they go wrong
_GIVEN = re.compile(rb"[A-Za-z0-9._-]{1,64}")

# The id of the request this code runs for; `-` outside of one.
request_id: ContextVar[str] = ContextVar("request_id", default="-")


class Counted(Protocol):
    def count(self, method: str, route: str, status: int, seconds: float) -> None: ...


class RequestIds(logging.Filter):
    """Gives every record of a log handler a `request_id`, for its format to show."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


class Access:
    """ASGI middleware. An id that the caller sends in `X-Request-Id` is kept, so that logs of both sides can be joined."""

    def __init__(self, app: ASGIApp, clock: Clock, metrics: Counted) -> None:
        self._app = app
        self._clock = clock
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(HEADER.lower().encode(), b"")
        name = given.decode() if _GIVEN.fullmatch(given) else secrets.token_hex(8)
        # Not reset: a request has a context of its own, and whoever handles an error further out still wants the id.
        request_id.set(name)
        begin, status = self._clock.monotonic(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = name
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            seconds = self._clock.monotonic() - begin
            self._metrics.count(scope["method"], _template(scope), status, seconds)
            level = logging.DEBUG if status < 400 and scope["path"].endswith(_FREQUENT) else logging.INFO
            # The path as it came in: decoded, it could hold the line break that begins a line of the caller's own.
            path = scope.get("raw_path", b"").decode("ascii", errors="replace") or scope["path"]
            log.log(level, "%s %s %d %.1f ms%s", scope["method"], path, status, seconds * 1000, _by_whom(scope))


def _by_whom(scope: Scope) -> str:
    caller = caller_of(scope)
    return f" by {caller.token_id or caller.name} ({caller.role})" if caller is not None and caller.name else ""


def _template(scope: Scope) -> str:
    """The path as it was declared (`/api/jobs/{job_id}`), so that metrics do not grow with the number of jobs."""
    route = scope.get("route")
    return str(getattr(route, "path", "")) or "unmatched"
