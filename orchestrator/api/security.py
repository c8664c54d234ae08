"""Decides which calls get in.

Calls of pages from another origin are refused. While there are no tokens, every local call is accepted. Else a call needs a valid token.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from orchestrator.api.credentials import ANYONE, Credentials
from orchestrator.api.errors import answer
from orchestrator.api.roles import is_open, set_caller
from shared.errors import FleetmarkError, Forbidden
from shared.hosts import is_ours


class Guard:
    """Finds out who calls before the call reaches a route, as ASGI middleware. `roles.require_role` decides what the caller may do.

    We accept bodies with any Content-Type, so browsers send bodies of any page to us without a CORS preflight. But browsers name the
    page's origin in `Origin`. A call with another origin than ours is refused, with or without a token.
    """

    def __init__(self, app: ASGIApp, credentials: Credentials, bound: str) -> None:
        """Wrap an application.

        Args:
            bound: the configured address that we listen on.
        """
        self._app = app
        self._credentials = credentials
        self._bound = bound

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                await self._check(scope)
            except FleetmarkError as error:
                await answer(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if origin is not None and _host_of(origin) != host:
            raise Forbidden(f"a page of {origin:.200} may not call this orchestrator")
        if is_open(scope):
            return
        if await self._credentials.are_needed():
            address = scope["client"][0] if scope.get("client") else ""
            set_caller(scope, await self._credentials.caller(address, headers.get("authorization", "")))
            return
        if not is_ours(host, self._bound):
            raise Forbidden(
                f"without a token this orchestrator answers to localhost, not to {host:.200}: a web page could be behind that name. "
                "Call it by http://127.0.0.1, or set a token"
            )
        set_caller(scope, ANYONE)


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None
