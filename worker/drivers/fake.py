"""Implements a driver whose answers come on a schedule that is known in advance. No recipe asks for it: only tests use it.

Settings: `answer_s` lists after how many seconds each answer comes, by the number of its request; after the last value the list starts
again. `fails` maps the number of a request to the failure that it has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from shared.request_records import SUCCESS

if TYPE_CHECKING:
    from worker.drivers.base import Lane, Sink, Work


class FakeLane:
    """Answers each request after its time."""

    at_once = 1

    def __init__(self, driver: FakeDriver, sink: Sink) -> None:
        self.sink = sink
        self.sent = self._scheduled = self._number = 0
        self._driver = driver
        self._waiting: asyncio.TimerHandle | None = None

    def send(self, number: int, scheduled: int) -> None:
        seconds = self._driver.answers[number % len(self._driver.answers)]
        self._number = number
        self.sent = perf_counter_ns()
        self._scheduled = scheduled or self.sent
        self._waiting = asyncio.get_running_loop().call_later(seconds, self._answer, self._driver.fails.get(number, SUCCESS))

    def _answer(self, failure: int) -> None:
        now = perf_counter_ns()
        self.sink.done(self._scheduled, self.sent, now, now, 1, 0, 0, failure)
        self.sent = 0
        self.sink.free(self)

    def abort(self, failure: int) -> None:
        waiting = bool(self.sent)
        self.close()
        if waiting:
            self.sink.done(self._scheduled, self.sent, 0, perf_counter_ns(), 1, 0, 0, failure)
        self.sent = 0
        self.sink.broken(self)

    def close(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()


class FakeDriver:
    """Opens lanes that need no service."""

    wire = "fake"
    operations: tuple[str, ...] = ("ask",)

    def __init__(self, work: Work) -> None:
        self.answers: list[float] = list(work.settings.get("answer_s", [0.001]))
        self.fails = {int(number): int(failure) for number, failure in work.settings.get("fails", {}).items()}
        self.opened = 0
        self.said = ""

    async def prepare(self) -> dict[str, Any]:
        return {}

    def begin(self, weights: Mapping[str, float], seed: str) -> None:
        """Do nothing: every request is the same."""

    async def open(self, sink: Sink) -> Lane:
        self.opened += 1
        return FakeLane(self, sink)

    async def clean(self) -> None:
        """Do nothing: `prepare` has made nothing."""

    def facts(self) -> dict[str, Any]:
        return {"software": {}}
