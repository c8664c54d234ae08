"""Tests that a request body which nobody reads does not break off a streamed answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.responses import StreamingResponse
from starlette.types import Message, Scope

from orchestrator.api.limits import BodyLimits
from orchestrator.settings import Settings
from shared.errors import TooLarge

SCOPE: Scope = {"type": "http", "method": "GET", "path": "/api/campaigns/x/results", "headers": [], "asgi": {"spec_version": "2.3"}}
LARGE = b"x" * 5_000
SETTINGS = Settings(request_timeout_s=0.1, max_body_bytes=1_000)


async def pieces() -> AsyncIterator[bytes]:
    for number in range(5):
        yield b"%d" % number
        await asyncio.sleep(0.05)


def streamed(receive_after_s: float, scope: Scope = SCOPE) -> bytes:
    """Return what is sent to a client that sends each piece of its body after this many seconds."""
    sent: list[Message] = []

    async def receive() -> Message:
        await asyncio.sleep(receive_after_s)
        return {"type": "http.request", "body": LARGE, "more_body": True}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(BodyLimits(StreamingResponse(pieces()), SETTINGS)(scope, receive, send))
    assert sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    return b"".join(message.get("body", b"") for message in sent)


def test_a_body_that_does_not_come_breaks_off_no_answer() -> None:
    assert streamed(receive_after_s=60) == b"01234"


def test_a_body_that_is_too_large_breaks_off_no_answer() -> None:
    assert streamed(receive_after_s=0.02) == b"01234"


def test_one_that_says_so_beforehand_is_refused_before_there_is_an_answer() -> None:
    with pytest.raises(TooLarge):
        streamed(receive_after_s=60, scope={**SCOPE, "headers": [(b"content-length", b"5000")]})
