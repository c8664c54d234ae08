"""Who gets in: nobody by way of a foreign page, everyone on a loopback without tokens, else whoever carries one that counts."""

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
    """ASGI middleware: finds out who calls, before the call reaches a route. What they may do is `roles.require_role`'s to say.

    Bodies are taken whatever their Content-Type, so a browser asks no permission before it sends one here for a page of anywhere.
    It does name the page's origin in `Origin`: another than ours is refused, with a token or without.
    """

    def __init__(self, app: ASGIApp, credentials: Credentials, bound: str) -> None:
        """
        Args:
            bound: the address we listen on, as it was configured.
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
