"""Asks a service that speaks HTTP one thing after the other over one connection, outside of any measurement.

With it, drivers make and remove their populations, and find out whether an address can be measured.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import httptools

from shared.errors import EngineUnavailable
from worker.drivers.http_address import PATIENCE_S, HttpAddress


@dataclass(frozen=True)
class Answer:
    """Holds a whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


async def ask_once(address: HttpAddress, request: bytes, patience_s: float = PATIENCE_S) -> Answer:
    """Send the bytes of one request on a connection of its own, and return the whole answer; see `HttpTalk.send`."""
    async with HttpTalk(address) as talk:
        return await talk.send(request, patience_s=patience_s)


class HttpTalk(asyncio.Protocol):
    """Is one connection. If the server closes it between two questions, the next one opens another. httptools calls its methods `on_…`.

    Args:
        on_open: Called for each connection that is opened.
    """

    def __init__(self, address: HttpAddress, on_open: Callable[[], None] = lambda: None) -> None:
        self._address, self._on_open = address, on_open
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._parser = httptools.HttpResponseParser(self)
        self._without_body = self._until_close = False

    async def __aenter__(self) -> HttpTalk:
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, without a farewell of TLS that somebody would have to wait for."""
        if self._transport is not None:
            self._transport.abort()

    async def ask(
        self,
        method: str,
        target: str,
        *body: bytes | memoryview,
        headers: Mapping[str, str] | None = None,
        patience_s: float = PATIENCE_S,
    ) -> Answer:
        """Send one request, and return the whole answer whatever its status is.

        Args:
            target: What follows the method: the path with its query.
            body: The parts of the body.

        Raises:
            The errors of `send`.
        """
        head = self._address.head(method, target, headers or {}, sum(map(len, body)))
        return await self.send(head, *body, without_body=method == "HEAD", patience_s=patience_s)

    async def send(self, *request: bytes | memoryview, without_body: bool = False, patience_s: float = PATIENCE_S) -> Answer:
        """Send the bytes of one request, and return the whole answer whatever its status is.

        Args:
            without_body: Whether the answer has no body, whatever its headers say, because the method is HEAD.

        Raises:
            EngineUnavailable: The answer is not HTTP.
            OSError: No connection can be opened, or it was closed before the whole answer had arrived.
            TimeoutError: There is no answer in time.
        """
        if self._transport is None or self._transport.is_closing():
            await self._address.connect(lambda: self)
            self._on_open()
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._without_body, self._until_close = without_body, False
        self._transport.writelines(request)
        return await asyncio.wait_for(self._answer, patience_s)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(EngineUnavailable(f"{self._address.place} does not answer a request with HTTP: {error}"))
            if self._transport is not None:
                self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if exc is None and self._until_close:
            self.on_message_complete()
        self._fail(ConnectionResetError(f"{self._address.place} closed the connection before its answer had ended"))

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    def on_message_begin(self) -> None:
        self._headers = {}
        self._body = bytearray()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._until_close = not {"content-length", "transfer-encoding"} & self._headers.keys()  # its end is that of the connection
        if self._without_body:
            self.on_message_complete()

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200 or self._answer is None or self._answer.done():
            return  # 1xx says that the answer is still to come
        if not self._parser.should_keep_alive() and self._transport is not None:
            self._transport.abort()  # a farewell of TLS would end in the middle of the next connection
        self._answer.set_result(Answer(status, self._headers, bytes(self._body)))
