"""Drives any address that answers HTTP/1.1: one request over and over, on connections that are kept open.

The bytes of the request are made before the load begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import httptools

from shared.errors import EngineUnavailable, ModelInvalid
from shared.request_records import STATUS, SUCCESS, WRONG
from worker.drivers.http_address import PATIENCE_S, HttpAddress
from worker.drivers.http_lane import HttpLane, judged

if TYPE_CHECKING:
    from worker.drivers.base import Lane, Sink, Work

SAID_BYTES = 200  # of a body, in an error
DEFAULTS: dict[str, Any] = {"method": "GET", "path": "", "headers": {}, "body": "", "expect_status": 200, "expect_body": ""}


class RequestLane(HttpLane):
    """Sends the one request of its driver."""

    def __init__(self, driver: HttpDriver, sink: Sink) -> None:
        super().__init__(sink)
        self._driver = driver
        self.without_body = driver.without_body

    def send(self, number: int, scheduled: int) -> None:
        self.waiting.append(0)
        self.write(self._driver.request, scheduled)

    def judge(self, operation: int, status: int) -> int:
        del operation
        return judged(status, (self._driver.expected,))


class BodyLane(RequestLane):
    """Looks at the bodies of answers, too, which takes time of the client."""

    def __init__(self, driver: HttpDriver, sink: Sink) -> None:
        self._body = bytearray()
        super().__init__(driver, sink)

    def on_body(self, data: bytes) -> None:
        self._body += data

    def judge(self, operation: int, status: int) -> int:
        failure = super().judge(operation, status)
        if failure == SUCCESS and self._driver.wanted not in self._body:
            failure = WRONG
            self._driver.said = self._driver.said or f"a body without the expected text: {self._body[:SAID_BYTES].decode(errors='replace')}"
        self._body.clear()
        return failure


class HttpDriver:
    """Drives one address."""

    wire = "http"

    def __init__(self, work: Work) -> None:
        settings = DEFAULTS | {name: value for name, value in work.settings.items() if value is not None}
        self._address = HttpAddress.of(work.address)
        method = str(settings["method"]).upper()
        self.operations: tuple[str, ...] = (method.lower(),)
        self.without_body = method == "HEAD"
        self.expected = int(settings["expect_status"])
        self.wanted = str(settings["expect_body"]).encode()
        """What the body of each answer must hold. Empty if nothing is expected of it."""
        if self.wanted and self.without_body:
            raise ModelInvalid("client.settings.expect_body is set and method is HEAD, whose answers have no body; leave one of them out")
        path = str(settings["path"]) or self._address.path or "/"
        headers = dict(settings["headers"])
        if "authorization" in work.secrets:
            headers["Authorization"] = work.secrets["authorization"]
        self.request = self._address.request(method, path, headers, str(settings["body"]).encode())
        self.opened = 0
        self.said = ""

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
        if failure == WRONG and status == self.expected:
            raise EngineUnavailable(
                f"{self._address.place} answers with {self.said}; check the path, the body of the request and client.settings.expect_body"
            )
        if failure and failure != STATUS and not status:
            raise EngineUnavailable(f"{self._address.place} does not answer a request with HTTP")
        if failure:
            raise EngineUnavailable(
                f"{self._address.place} answers with status {status}, and client.settings.expect_status is {self.expected}; "
                "check the path, the method and the key, or write the status that you expect"
            )
        return {"status": status}

    async def open(self, sink: Sink) -> Lane:
        lane = await self._address.connect(lambda: (BodyLane if self.wanted else RequestLane)(self, sink))
        self.opened += 1
        return lane

    async def clean(self) -> None:
        """Do nothing: `prepare` has made nothing."""

    def facts(self) -> dict[str, Any]:
        return {"software": {"httptools": httptools.__version__}}


class _Probe:
    """Takes the report on a single request."""

    recorded = 0

    def __init__(self, answered: asyncio.Future[tuple[int, int]]) -> None:
        self._answered = answered

    def done(self, scheduled: int, sent: int, first: int, last: int, size: int, status: int, operation: int, failure: int) -> None:
        if not self._answered.done():
            self._answered.set_result((status, failure))

    def free(self, lane: Lane) -> None:
        """Do nothing: one request is enough."""

    def broken(self, lane: Lane) -> None:
        """Do nothing: `done` was called before."""
