"""Sends files as answers, like Starlette, but refuses a range beyond the file's end in the one shape of every error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.responses import FileResponse, JSONResponse
from starlette.types import Message, Receive, Scope, Send

from shared.errors import NotFound

BYTES: dict[str, Any] = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
PART: dict[int | str, dict[str, Any]] = {206: {"description": "The part of it that `Range` asks for.", "content": BYTES}}


class SentFile(FileResponse):
    """Sends a file, or the part of it that the request's `Range` names.

    A `Range` that cannot be read is ignored (RFC 9110, 14.2). A range beyond the file's end is answered with 416, and a file that was
    deleted after the call had looked for it with 404.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused: Message | None = None
        begun = False

        async def watching(message: Message) -> None:
            nonlocal refused, begun
            begun = True
            if message["type"] == "http.response.start" and message["status"] >= 400:
                refused = message
            elif refused is None:
                await send(message)

        try:
            await super().__call__(scope, receive, watching)
        except (OSError, RuntimeError) as error:  # Starlette raises RuntimeError for a file that is gone
            if begun or Path(self.path).exists():
                raise
            raise NotFound("the file has just been deleted") from error
        if refused is None:
            return
        if refused["status"] == 416:
            size = MutableHeaders(scope=refused)["content-range"].rpartition("/")[2]
            body = {"error": "RangeNotSatisfiable", "detail": f"the file has {size} bytes; ask for a range within them, or for all of it"}
            await JSONResponse(body, 416, {"Content-Range": f"bytes */{size}"})(scope, receive, send)
        else:
            plain = [(name, value) for name, value in scope["headers"] if name != b"range"]
            await super().__call__({**scope, "headers": plain}, receive, send)
