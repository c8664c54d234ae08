"""Logs and counts each request, and gives it an id."""

from __future__ import annotations

import logging
import math
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
_FREQUENT = ("/health", "/heartbeat", "/metrics")  # machines call these every few seconds, so only failures are logged at level INFO
REPEATED_S = 60.0
REMEMBERED = 1_000  # the number of different reads that are remembered
_GIVEN = re.compile(rb"[A-Za-z0-9._-]{1,64}")

# This is the id of the current request. It is `-` outside of a request.
request_id: ContextVar[str] = ContextVar("request_id", default="-")


class Counted(Protocol):
    def count(self, method: str, route: str, status: int, seconds: float) -> None: ...


class RequestIds(logging.Filter):
    """Adds `request_id` to every record of a log handler, so that its format can show it."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


class Access:
    """Logs and counts requests, as ASGI middleware. An id that the caller sends in `X-Request-Id` is kept, to match logs of both sides."""

    def __init__(self, app: ASGIApp, clock: Clock, metrics: Counted) -> None:
        self._app = app
        self._clock = clock
        self._metrics = metrics
        self._reads: dict[tuple[str, ...], float] = {}  # the time when each read was last logged

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(HEADER.lower().encode(), b"")
        name = given.decode() if _GIVEN.fullmatch(given) else secrets.token_hex(8)
        # The id is not reset: each request has its own context, and error handlers outside of this one still need the id.
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
            by_whom = _by_whom(scope)
            level = logging.DEBUG if status < 400 and self._is_usual(scope, by_whom) else logging.INFO
            # The path is logged undecoded: decoded, it could hold a line break, and a caller could forge lines of the log.
            path = scope.get("raw_path", b"").decode("ascii", errors="replace") or scope["path"]
            log.log(level, "%s %s %d %.1f ms%s", scope["method"], path, status, seconds * 1000, by_whom)

    def _is_usual(self, scope: Scope, by_whom: str) -> bool:
        """Return whether a request that succeeded tells nothing new: machines send it all the time, or it repeats one of the last minute.

        Who follows a campaign asks the same every second. The first of these requests is logged at level INFO, then one a minute.
        """
        if scope["path"].endswith(_FREQUENT):
            return True
        if scope["method"] not in ("GET", "HEAD"):
            return False
        client = scope.get("client") or ("",)
        key, now = (scope["method"], scope["path"], by_whom, client[0]), self._clock.monotonic()
        last = self._reads.pop(key, -math.inf)
        repeated = now - last < REPEATED_S
        self._reads[key] = last if repeated else now  # the entry goes to the end, because the oldest read is forgotten first
        if len(self._reads) > REMEMBERED:
            del self._reads[next(iter(self._reads))]
        return repeated


def _by_whom(scope: Scope) -> str:
    caller = caller_of(scope)
    return f" by {caller.token_id or caller.name} ({caller.role})" if caller is not None and caller.name else ""


def _template(scope: Scope) -> str:
    """Return the declared path (`/api/jobs/{job_id}`), so that metrics do not grow with the number of jobs."""
    route = scope.get("route")
    return str(getattr(route, "path", "")) or "unmatched"
