"""Implements lanes that send another HTTP request each time: what the drivers of services that speak HTTP have in common.

The driver chooses a request by its number, and judges the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter_ns
from typing import TYPE_CHECKING, Protocol

from worker.drivers.http_lane import HttpLane

if TYPE_CHECKING:
    from worker.drivers.base import Sink


class Exchanger(Protocol):
    """Is what a driver does for its lanes."""

    def request(self, number: int) -> tuple[int, Sequence[bytes | memoryview]]:
        """Return the operation of a request, and its bytes in parts that are sent one after the other."""

    def answered(self, number: int, operation: int, status: int, length: int | None, body: bytes) -> int:
        """Take note of an answer, and return its place in `shared.request_records.FAILURES`.

        Args:
            length: The value of `Content-Length`, if the answer has one.
            body: The whole body in a `KeepingLane`. In another lane, the last bytes that arrived, which may begin in the head.
        """


class ExchangeLane(HttpLane):
    """Is one connection. Bodies are not kept, because copying large ones takes time."""

    def __init__(self, driver: Exchanger, sink: Sink) -> None:
        super().__init__(sink)
        self.driver = driver
        self.number = 0
        self.length: int | None = None
        self._newest = b""

    def send(self, number: int, scheduled: int) -> None:
        assert self.transport is not None
        operation, parts = self.driver.request(number)
        self.number = number
        self.waiting.append(operation)
        self.size = sum(map(len, parts))
        self.first = 0
        sent = self.sent = perf_counter_ns()
        self.scheduled = scheduled or sent
        if len(parts) == 1:
            self.transport.write(parts[0])
        else:
            self.transport.writelines(parts)

    def data_received(self, data: bytes) -> None:
        self._newest = data
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.length = None

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if name.lower() == b"content-length":
            self.length = int(value)  # the parser has refused one that is no number

    def judge(self, operation: int, status: int) -> int:
        return self.driver.answered(self.number, operation, status, self.length, self._newest)


class KeepingLane(ExchangeLane):
    """Is one connection that hands whole bodies to its driver."""

    def __init__(self, driver: Exchanger, sink: Sink) -> None:
        super().__init__(driver, sink)
        self._body: list[bytes] = []

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._body.clear()

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def judge(self, operation: int, status: int) -> int:
        return self.driver.answered(self.number, operation, status, self.length, b"".join(self._body))
