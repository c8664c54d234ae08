"""Limits the size of bodies, whether or not their length is declared, and the time in which they must arrive."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.settings import Settings
from shared.errors import TooLarge, TooSlow

MODELS = "/api/models"
# A body may take `request_timeout_s`, plus one second for each of this many bytes that have arrived (like Apache's mod_reqtimeout). So a
# trickle of bytes is cut off, but 8 GB over a slow line are not.
MIN_BYTES_PER_S = 16_000


class BodyLimits:
    """Limits bodies, as ASGI middleware. Its errors are raised where the body is read, so they are handled like all other errors.

    Once an answer has begun, no error is raised. It would break off the answer to a client whose body is not read.

    Waiting for a body uses no thread: the event loop reads it, either at once (`bodies.RawBody`) or piece by piece (models).
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
        begun: float | None = None  # when we began to read; time that the client waited for a busy server does not count

        async def limited() -> Message:
            nonlocal received, whole, begun
            if whole or answering.is_set():
                return await receive()  # the next message says that the client disconnected
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
