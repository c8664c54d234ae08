"""How large a body may be, whether its length is declared or it comes in chunks, and how long it may take."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.settings import Settings
from shared.errors import TooLarge, TooSlow

MODELS = "/api/models"
# A body may take `request_timeout_s` and a second more for each of so many bytes that have arrived (as Apache's mod_reqtimeout counts):
# a trickle ends, and 8 GB over a slow line do not.
MIN_BYTES_PER_S = 16_000


class BodyLimits:
    """ASGI middleware. The error is raised where the body is read, so it takes the way of every other error.

    Once an answer has begun there is none to raise: it would break off what is streamed to whoever sends a body that nobody reads.

    Waiting for a body holds no thread: it is read in the event loop, whole (`bodies.RawBody`) or piece by piece (models).
    """

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
        received, whole = 0, False
        answering = asyncio.Event()
        begun: float | None = None  # when we began to read: what a busy server let wait is not the client's

        async def limited() -> Message:
            nonlocal received, whole, begun
            if whole or answering.is_set():
                return await receive()  # what is waited for now is the client's leaving
            if declared.isdigit() and int(declared) > limit:
                raise TooLarge(f"the body is {declared} bytes; at most {limit} are accepted ({name} raises that)")
            begun = begun or asyncio.get_running_loop().time()
            allowed_s = self._settings.request_timeout_s + received / MIN_BYTES_PER_S
            try:
                async with asyncio.timeout_at(begun + allowed_s):
                    message = await receive()
            except TimeoutError as error:
                if answering.is_set():
                    return await receive()
                raise TooSlow(
                    f"the body came in too slowly: {received} bytes in {allowed_s:.0f} s; it may take "
                    f"{self._settings.request_timeout_s:g} s (FLEETMARK_REQUEST_TIMEOUT_S) and one more for each {MIN_BYTES_PER_S} bytes"
                ) from error
            received += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if received > limit and not answering.is_set():
                raise TooLarge(f"the body is larger than {limit} bytes; that is the limit ({name} raises it)")
            return message

        async def noted(message: Message) -> None:
            answering.set()
            await send(message)

        await self._app(scope, limited, noted)
