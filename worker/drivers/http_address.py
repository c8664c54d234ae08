"""Reads the address of a service that answers HTTP, opens connections to it, and asks single requests outside of any measurement."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, cast
from urllib.parse import urlsplit

import httptools

from shared.errors import EngineUnavailable, ModelInvalid

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_S = 30.0  # for the answer to a single request
OURS = ("host", "content-length", "connection", "transfer-encoding")  # headers that say how a request is read
P = TypeVar("P", bound=asyncio.BaseProtocol)


@dataclass(frozen=True)
class Answer:
    """Holds a whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class HttpAddress:
    """Says where a service answers HTTP.

    Attributes:
        path: The path and the query of the address, which may be empty.
        named: The host as the address writes it, with its port; what the header `Host` says.
    """

    host: str
    port: int
    tls: bool
    path: str
    named: str

    @classmethod
    def of(cls, address: str) -> HttpAddress:
        """Read an address such as `http://127.0.0.1:8000/predict`. Without a scheme, it is taken for `http`.

        Raises:
            ModelInvalid: It is none.
        """
        parts = urlsplit(address if "://" in address else f"http://{address}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ModelInvalid(f"{address!r} is no address of a service that answers HTTP; write it like http://HOST:PORT/PATH")
        tls = parts.scheme == "https"
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        return cls(parts.hostname, parts.port or (443 if tls else 80), tls, path, parts.netloc.rpartition("@")[2])

    @property
    def place(self) -> str:
        return f"{self.host}:{self.port}"

    async def connect(self, make: Callable[[], P]) -> P:
        """Open a connection.

        Raises:
            OSError: It cannot be opened.
        """
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_connection(make, self.host, self.port, ssl=True if self.tls else None)
        return protocol

    def request(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
        """Return the bytes of a request.

        Raises:
            ModelInvalid: A header is one that is written here, or has a line break.
        """
        return self.head(method, path, headers, len(body)) + body

    def head(self, method: str, path: str, headers: Mapping[str, str], length: int) -> bytes:
        """Return the bytes of a request before its body of `length` bytes; see `request`."""
        if ours := [name for name in headers if name.lower() in OURS]:
            raise ModelInvalid(f"client.settings.headers has {ours[0]!r}, which the driver writes itself; leave it out")
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.named}", *(f"{name}: {value}" for name, value in headers.items())]
        if bad := [line for line in lines if "\r" in line or "\n" in line]:
            raise ModelInvalid(f"{bad[0].partition(':')[0]!r} has a line break in its value, which no header may have")
        if length or method in ("POST", "PUT", "PATCH"):
            lines.append(f"Content-Length: {length}")
        return "\r\n".join([*lines, "", ""]).encode()

    async def ask(self, request: bytes, patience_s: float = PATIENCE_S) -> Answer:
        """Send one request on a connection of its own, and return the whole answer. It is not for measured requests.

        Raises:
            EngineUnavailable: The answer is not HTTP, or ends early.
            OSError: No connection can be opened.
            TimeoutError: There is no answer in time.
        """
        talk = await self.connect(lambda: _Talk(self.place))
        try:
            talk.transport.write(request)
            return await asyncio.wait_for(talk.answer, patience_s)
        finally:
            talk.transport.abort()


class _Talk(asyncio.Protocol):
    """Waits for one whole answer. httptools calls its methods `on_…`."""

    transport: asyncio.Transport

    def __init__(self, place: str) -> None:
        self._place = place
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._pieces: list[bytes] = []
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"{self._place} does not answer a request with HTTP: {error}")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        if (status := self._parser.get_status_code()) >= 200 and not self.answer.done():
            self.answer.set_result(Answer(status, self._headers, b"".join(self._pieces)))

    def connection_lost(self, exc: Exception | None) -> None:
        status = self._parser.get_status_code()
        if exc is None and status >= 200 and not {"content-length", "transfer-encoding"} & self._headers.keys():
            self.on_message_complete()  # an answer without a length ends with its connection
        self._fail(f"{self._place} closed the connection before its answer had ended")

    def _fail(self, why: str) -> None:
        if not self.answer.done():
            self.answer.set_exception(EngineUnavailable(why))
