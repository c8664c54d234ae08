"""Implements what lanes that speak HTTP/1.1 have in common. httptools parses the answers; the stamps are taken before the parser sees them.

A subclass says which bytes a request has and what is thought of an answer. If it also has a method `on_body`, httptools calls it with each
piece of a body, chunks already joined to the bytes that they stand for.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from time import perf_counter_ns
from typing import TYPE_CHECKING

import httptools

from shared.request_records import CLOSED, STATUS, SUCCESS, TOO_MANY, WRONG
from worker.drivers.wire import WireLane

if TYPE_CHECKING:
    from worker.drivers.base import Sink


def judged(status: int, expected: Sequence[int] = (200,)) -> int:
    """Return the failure that a status means, or success."""
    if status in expected:
        return SUCCESS
    if status == 429:
        return TOO_MANY
    return STATUS if status >= 400 else WRONG


class HttpLane(WireLane):
    """Is one connection with one request in flight. httptools calls its methods `on_…`."""

    without_body = False
    """Whether answers have no body, whatever their headers say, because the method is HEAD."""

    def __init__(self, sink: Sink) -> None:
        super().__init__(sink)
        self.parser = httptools.HttpResponseParser(self)
        self.last = 0  # when the newest bytes arrived
        self._until_close = self._has_length = False
        self._complete = self._keep = False

    @abstractmethod
    def judge(self, operation: int, status: int) -> int:
        """Return what became of a request with a whole answer: its place in `shared.request_records.FAILURES`."""

    def data_received(self, data: bytes) -> None:
        self.last = now = perf_counter_ns()
        if not self.first:
            self.first = now
        self.size += len(data)
        try:
            self.parser.feed_data(data)
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
        if self.without_body:
            self.on_message_complete()

    def on_message_complete(self) -> None:
        if self.parser.get_status_code() >= 200:  # 1xx says that the answer is still to come
            self._complete, self._keep = True, self.parser.should_keep_alive()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.waiting and self.first and self._until_close and exc is None:
            self._answered(keep=False)  # an answer without a length ends with its connection
        self._end(CLOSED)

    def _answered(self, *, keep: bool) -> None:
        if not self.waiting:
            self.abort(WRONG)  # an answer to nothing
            return
        operation = self.waiting.pop()
        status = self.parser.get_status_code()
        failure = self.judge(operation, status)
        self.sink.done(self.scheduled, self.sent, self.first, self.last, self.size, status, operation, failure)
        self.sent = 0
        if self.without_body:
            self.parser = httptools.HttpResponseParser(self)  # it waits for a body that never comes
        if keep:
            self.sink.free(self)
        else:
            self.abort(CLOSED)
