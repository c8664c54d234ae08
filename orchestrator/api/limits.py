"""How large a body may be, whether its length is declared or it comes in chunks."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.settings import Settings
from shared.errors import TooLarge

MODELS = "/api/models"


class BodyLimit:
    """ASGI middleware. The error is raised where the body is read, so it takes the way of every other error."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit, name = self._settings.max_body_bytes, "FLEETMARK_MAX_BODY_BYTES"
        if scope["path"] == MODELS:
            limit, name = self._settings.max_model_bytes, "FLEETMARK_MAX_MODEL_BYTES"
        declared = Headers(scope=scope).get("content-length", "0")
        received = 0

        async def limited() -> Message:
            nonlocal received
            if declared.isdigit() and int(declared) > limit:
                raise TooLarge(f"the body is {declared} bytes; at most {limit} are accepted ({name} raises that)")
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise TooLarge(f"the body is larger than {limit} bytes; that is the limit ({name} raises it)")
            return message

        await self._app(scope, limited, send)
