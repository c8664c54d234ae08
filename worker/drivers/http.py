"""Drives any address that answers HTTP/1.1: one request over and over, on connections that are kept open.

The bytes of the request are made before the load begins. Answers are parsed by httptools; the stamps are taken before the parser sees them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httptools

from shared.errors import EngineUnavailable, ModelInvalid
from shared.request_records import CLOSED, STATUS, SUCCESS, TOO_MANY, WRONG
from worker.drivers.wire import WireLane

if TYPE_CHECKING:
    from worker.drivers.base import Lane, Sink, Work

PATIENCE_S = 30.0  # for the answer to the first request
DEFAULTS: dict[str, Any] = {"method": "GET", "path": "", "headers": {}, "body": "", "expect_status": 200}
OURS = ("host", "content-length", "connection", "transfer-encoding")  # headers that say how a request is read


class HttpLane(WireLane):
    """Is one connection. httptools calls its methods `on_…`."""

    def __init__(self, driver: HttpDriver, sink: Sink) -> None:
        super().__init__(sink)
        self._driver = driver
        self._parser = httptools.HttpResponseParser(self)
        self._until_close = self._has_length = False
        self._last = 0
        self._complete = self._keep = False

    def send(self, number: int, scheduled: int) -> None:
        self.waiting.append(0)
        self.write(self._driver.request, scheduled)

    def data_received(self, data: bytes) -> None:
        self._last = now = perf_counter_ns()
        if not self.first:
            self.first = now
        self.size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort(WRONG)
            return
        if self._complete:
            self._complete = False
            self._answered(keep=self._keep)

    def on_message_begin(self) -> None:
        self._until_close = self._has_length = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._has_length = True

    def on_headers_complete(self) -> None:
        self._until_close = not self._has_length
        if self._driver.without_body:
            self.on_message_complete()

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() >= 200:  # 1xx says that the answer is still to come
            self._complete, self._keep = True, self._parser.should_keep_alive()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.waiting and self.first and self._until_close and exc is None:
            self._answered(keep=False)  # an answer without a length ends with its connection
        self._end(CLOSED)

    def _answered(self, *, keep: bool) -> None:
        if not self.waiting:
            self.abort(WRONG)  # an answer to nothing
            return
        self.waiting.clear()
        failure = self._driver.judge(status := self._parser.get_status_code())
        self.sink.done(self.scheduled, self.sent, self.first, self._last, self.size, status, 0, failure)
        self.sent = 0
        if self._driver.without_body:
            self._parser = httptools.HttpResponseParser(self)  # it waits for a body that never comes
        if keep:
            self.sink.free(self)
        else:
            self.abort(CLOSED)


class HttpDriver:
    """Drives one address."""

    wire = "http"

    def __init__(self, work: Work) -> None:
        settings = DEFAULTS | {name: value for name, value in work.settings.items() if value is not None}
        parts = urlsplit(work.address if "://" in work.address else f"http://{work.address}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ModelInvalid(f"{work.address!r} is no address of a service that answers HTTP; write it like http://HOST:PORT/PATH")
        self._host, self._tls = parts.hostname, parts.scheme == "https"
        self._port = parts.port or (443 if self._tls else 80)
        method = str(settings["method"]).upper()
        self.operations: tuple[str, ...] = (method.lower(),)
        self.without_body = method == "HEAD"
        self._expected = int(settings["expect_status"])
        path = str(settings["path"]) or (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self.request = self._made(method, path, parts.netloc.rpartition("@")[2], settings, work.secrets)
        self.opened = 0
        self.said = ""

    def _made(self, method: str, path: str, host: str, settings: Mapping[str, Any], secrets: Mapping[str, str]) -> bytes:
        body = str(settings["body"]).encode()
        headers = dict(settings["headers"])
        if ours := [name for name in headers if name.lower() in OURS]:
            raise ModelInvalid(f"client.settings.headers has {ours[0]!r}, which the driver writes itself; leave it out")
        if "authorization" in secrets:
            headers["Authorization"] = secrets["authorization"]
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers.items())]
        if bad := [line for line in lines if "\r" in line or "\n" in line]:
            raise ModelInvalid(f"{bad[0].partition(':')[0]!r} has a line break in its value, which no header may have")
        if body or method in ("POST", "PUT", "PATCH"):
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode() + body

    def judge(self, status: int) -> int:
        if status == self._expected:
            return SUCCESS
        if status == 429:
            return TOO_MANY
        return STATUS if status >= 400 else WRONG

    def begin(self, weights: Mapping[str, float], seed: str) -> None:
        """Do nothing: every request is the same."""

    async def prepare(self) -> dict[str, Any]:
        """Send one request, so that an address where nothing answers, or with another status, is refused before the load."""
        answered = asyncio.get_running_loop().create_future()
        probe = _Probe(answered)
        lane = await self.open(probe)
        lane.send(0, 0)
        status, failure = await asyncio.wait_for(answered, PATIENCE_S)
        lane.close()
        if failure and failure != STATUS:
            raise EngineUnavailable(f"{self._host}:{self._port} does not answer a request with HTTP")
        if failure:
            raise EngineUnavailable(
                f"{self._host}:{self._port} answers with status {status}, and client.settings.expect_status is {self._expected}; "
                "check the path, the method and the key, or write the status that you expect"
            )
        return {"status": status}

    async def open(self, sink: Sink) -> Lane:
        lane = HttpLane(self, sink)
        await asyncio.get_running_loop().create_connection(lambda: lane, self._host, self._port, ssl=True if self._tls else None)
        self.opened += 1
        return lane

    async def clean(self) -> None:
        """Do nothing: `prepare` has made nothing."""

    def facts(self) -> dict[str, Any]:
        return {"software": {"httptools": httptools.__version__}}


class _Probe:
    """Takes the report on a single request."""

    def __init__(self, answered: asyncio.Future[tuple[int, int]]) -> None:
        self._answered = answered

    def done(self, scheduled: int, sent: int, first: int, last: int, size: int, status: int, operation: int, failure: int) -> None:
        if not self._answered.done():
            self._answered.set_result((status, failure))

    def free(self, lane: Lane) -> None:
        """Do nothing: one request is enough."""

    def broken(self, lane: Lane) -> None:
        """Do nothing: `done` was called before."""
