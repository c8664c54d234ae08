"""Implements what lanes on a stream of bytes have in common: the stamps, and exactly one report for each request."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from time import perf_counter_ns
from typing import TYPE_CHECKING, cast

from shared.request_records import CLOSED

if TYPE_CHECKING:
    from worker.drivers.base import Sink


class WireLane(asyncio.Protocol, ABC):
    """Is a lane whose driver writes and reads bytes itself. A subclass sends, and turns received bytes into answers.

    Attributes:
        waiting: The operations of the requests in flight that have no answer yet, in order; more than one only in a batch.
    """

    at_once = 1

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.sent = self.scheduled = self.first = 0
        self.size = 0  # bytes of the request in flight and of what has arrived of its answer
        self.waiting: list[int] = []
        self.transport: asyncio.Transport | None = None
        self._gone = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    @abstractmethod
    def send(self, number: int, scheduled: int) -> None:
        """Send the next request; see `worker.drivers.base.Lane`."""

    def write(self, data: bytes, scheduled: int) -> None:
        """Stamp and send the bytes of a request."""
        assert self.transport is not None
        self.size = len(data)
        self.first = 0
        sent = self.sent = perf_counter_ns()
        self.scheduled = scheduled or sent
        self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(CLOSED)

    def abort(self, failure: int) -> None:
        if self.transport is not None:
            self.transport.abort()
        self._end(failure)

    def close(self) -> None:
        self._gone = True
        if self.transport is not None:
            self.transport.close()

    def _end(self, failure: int) -> None:
        if self._gone:
            return
        self._gone = True
        now = perf_counter_ns()
        waiting, self.waiting = self.waiting, []
        for operation in waiting:
            self.sink.done(self.scheduled, self.sent, self.first, now, self.size, 0, operation, failure)
        self.sent = 0
        self.sink.broken(self)
