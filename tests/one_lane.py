"""Sends requests one after the other over one lane of a driver, returns what was reported of each, and waits until lanes are closed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import psutil

from shared.request_records import OPEN
from worker.drivers.base import Driver, Lane


@dataclass(frozen=True)
class Report:
    """Holds the arguments of one `done`."""

    scheduled: int
    sent: int
    first: int
    last: int
    size: int
    status: int
    operation: int
    failure: int


@dataclass
class Reports:
    """Is a sink that keeps what it gets."""

    reports: list[Report] = field(default_factory=list)
    next: asyncio.Event = field(default_factory=asyncio.Event)
    lost: bool = False

    @property
    def recorded(self) -> int:
        return len(self.reports)

    def done(self, scheduled: int, sent: int, first: int, last: int, size: int, status: int, operation: int, failure: int) -> None:
        self.reports.append(Report(scheduled, sent, first, last, size, status, operation, failure))

    def free(self, lane: Lane) -> None:
        self.next.set()

    def broken(self, lane: Lane) -> None:
        self.lost = True
        self.next.set()


async def sent(driver: Driver, count: int) -> list[Report]:
    """Send the requests 0 to `count` - 1. A connection that is lost is opened again."""
    sink = Reports()
    lane = await driver.open(sink)
    for number in range(count):
        if sink.lost:
            sink.lost = False
            lane = await driver.open(sink)
        sink.next.clear()
        lane.send(number, 0)
        await asyncio.wait_for(sink.next.wait(), 20)
    lane.abort(OPEN)  # nothing is in flight
    await asyncio.sleep(0)
    return sink.reports


async def disconnected(port: int) -> None:
    """Wait until asyncio has closed all connections to a port. It does so after the driver has given them up."""
    while any(one.raddr and one.raddr.port == port for one in psutil.Process().net_connections("tcp")):
        await asyncio.sleep(0.01)
    await asyncio.sleep(0)  # the protocols hear of it
