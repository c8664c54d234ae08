"""Who may call: everyone on loopback, or whoever carries the configured token."""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from orchestrator.api.docs import ASSETS
from orchestrator.api.errors import Forbidden, answer
from shared.errors import FleetmarkError, Unauthorized

# Needs no token: whether the system is well, and the description of the API, which says nothing about this system.
OPEN = frozenset({"/api/health", "/", "/docs", "/openapi.json"})


class Guard:
    """ASGI middleware: a bearer token on every call but the open ones, once one is configured.

    A browser names the page that makes it call in `Origin`. A page of another host is refused: without a token, any web page
    could otherwise submit jobs to an orchestrator on the visitor's own machine.
    """

    def __init__(self, app: ASGIApp, token: SecretStr | None) -> None:
        self._app = app
        self._token = token.get_secret_value().encode() if token else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            error = self._refusal(scope)
            if error is not None:
                response = answer(error)
                if isinstance(error, Unauthorized):
                    response.headers["WWW-Authenticate"] = "Bearer"
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> FleetmarkError | None:
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host", ""):
            return Forbidden(f"a page of {origin} may not call this orchestrator")
        is_open = scope["path"] in OPEN or scope["path"].startswith(f"{ASSETS}/")
        if self._token is None or (is_open and scope["method"] in ("GET", "HEAD")):
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._token):
            return None
        return Unauthorized("this orchestrator wants its token: send the header `Authorization: Bearer <token>`")
