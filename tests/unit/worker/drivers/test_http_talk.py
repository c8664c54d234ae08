"""Tests how single requests are answered, with a server that sends known bytes and then closes the connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from shared.errors import EngineUnavailable
from worker.drivers.http_address import HttpAddress
from worker.drivers.http_talk import Answer, HttpTalk, ask_once

WITHOUT_LENGTH = b"HTTP/1.1 200 OK\r\nServer: old\r\n\r\nall of it"


def talking(answer: bytes, talk: Callable[[HttpAddress], Awaitable[list[Answer]]]) -> list[Answer]:
    """Talk with a server that answers the first request of each connection, and closes it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async def run() -> list[Answer]:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            return await talk(HttpAddress.of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"))

    return asyncio.run(run())


async def once(address: HttpAddress) -> list[Answer]:
    return [await ask_once(address, address.request("GET", "/", {}))]


def test_an_answer_without_a_length_ends_with_its_connection_and_the_next_question_opens_another() -> None:
    opened: list[None] = []

    async def twice(address: HttpAddress) -> list[Answer]:
        async with HttpTalk(address, lambda: opened.append(None)) as talk:
            return [await talk.ask("GET", "/first"), await talk.ask("GET", "/second")]

    assert [answer.body for answer in talking(WITHOUT_LENGTH, twice)] == [b"all of it"] * 2
    assert len(opened) == 2


@pytest.mark.parametrize("cut", [0, len(b"HTTP/1.1 200 OK\r\nServ"), len(WITHOUT_LENGTH) - 10])
def test_an_answer_that_is_cut_before_its_body_is_an_error(cut: int) -> None:
    with pytest.raises(ConnectionResetError, match="closed the connection before its answer had ended"):
        talking(WITHOUT_LENGTH[:cut], once)


def test_an_answer_that_is_shorter_than_its_length_is_an_error() -> None:
    with pytest.raises(ConnectionResetError, match="closed the connection before its answer had ended"):
        talking(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", once)


def test_an_answer_of_another_protocol_is_an_error() -> None:
    with pytest.raises(EngineUnavailable, match="does not answer a request with HTTP"):
        talking(b"-ERR unknown command\r\n", once)
