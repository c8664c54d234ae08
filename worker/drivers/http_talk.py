"""Asks a service that speaks HTTP one thing after the other over one connection, outside of any measurement.

Drivers make and remove their populations with it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from typing import TypeVar, cast

import httptools

from shared.errors import EngineUnavailable
from worker.drivers.http_address import PATIENCE_S, Answer, HttpAddress

P = TypeVar("P", bound=asyncio.BaseProtocol)


class HttpTalk(asyncio.Protocol):
    """Is one connection. If the server closes it between two questions, the next one opens another. httptools calls its methods `on_…`.

    Args:
        on_open: Called for each connection that is opened.
    """

    def __init__(self, address: HttpAddress, on_open: Callable[[], None]) -> None:
        self._address, self._on_open = address, on_open
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._parser = httptools.HttpResponseParser(self)
        self._head_only = False

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
            OSError: No connection can be opened, or it was closed before the whole answer had arrived.
            TimeoutError: There is no answer in time.
        """
        if self._transport is None or self._transport.is_closing():
            await connect(self._address, lambda: self)
            self._on_open()
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._head_only = method == "HEAD"
        self._transport.write(self._address.head(method, target, headers or {}, sum(map(len, body))))
        self._transport.writelines(body)
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
        self._fail(ConnectionResetError(f"{self._address.place} closed the connection before it had answered"))

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    def on_message_begin(self) -> None:
        self._headers = {}
        self._body = bytearray()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._head_only:
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


async def connect(address: HttpAddress, make: Callable[[], P]) -> P:
    """Open a connection.

    Raises:
        OSError: It cannot be opened, or the service does not speak the TLS that the address asks for.
    """
    try:
        return await address.connect(make)
    except ssl.SSLError as error:
        raise ConnectionError(
            f"{address.place} does not speak TLS, or its certificate is not trusted on this device ({error.reason or error}); "
            "write http:// and no `use_https` for a service without TLS"
        ) from error
