"""Defines the interface that every driver implements: the client of one protocol.

A client process has one `Driver`, and the driver opens lanes. A lane is one connection that has at most one request in flight (or one
batch, where the protocol can send several at once). It is what a virtual client uses. Lanes work by callbacks and not by coroutines: a
task for each request would take longer than the request itself.

Nothing here retries, pools or reconnects on its own. A lane that has lost its connection is broken, and says so once.

This module imports neither pydantic nor numpy, because client processes use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Work:
    """Says which service a driver talks to, and what it asks for.

    Attributes:
        address: As the recipe writes it: `redis://host:port/0`, `postgresql://…`, `http://…`, or `host:port`.
        settings: The settings of the client, with every default filled in.
        seed: What the contents of this process's requests are drawn from.
        client, clients: The index of this client process, and how many there are.
        secrets: Keys and passwords from the worker's environment. They never reach a result or a log.
    """

    address: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: str = ""
    client: int = 0
    clients: int = 1
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)


class Sink(Protocol):
    """Takes what lanes report. Times are of `perf_counter_ns`."""

    @property
    def recorded(self) -> int:
        """Return how many requests were reported to it: the index of the record that the next `done` makes."""

    def done(self, scheduled: int, sent: int, first: int, last: int, size: int, status: int, operation: int, failure: int) -> None:
        """Record one request that has ended.

        Args:
            first: When its first byte arrived; 0 if none did, or if the driver cannot see it.
            size: Bytes of the request and its answer.
            failure: Its place in `shared.request_records.FAILURES`.
        """

    def free(self, lane: Lane) -> None:
        """Take note that a lane has nothing in flight, so that it can send again. It is called after every `done` of its batch."""

    def broken(self, lane: Lane) -> None:
        """Take note that a lane has lost its connection. It is called at most once for each lane, after every `done`."""


class Lane(Protocol):
    """Is one connection.

    Attributes:
        sink: What it reports to; set anew for each phase.
        sent: When the request in flight was sent, and 0 if there is none.
        at_once: How many requests `send` sends. It is lowered for the last ones, so that exactly as many are sent as were asked for.
    """

    sink: Sink
    sent: int
    at_once: int

    def send(self, number: int, scheduled: int) -> None:
        """Send the next request, or the next `at_once` requests.

        Args:
            number: The index of the request in this process: what a driver chooses the operation and its contents by.
            scheduled: When the request was due. 0 means: now, at the moment when it is sent.
        """

    def abort(self, failure: int) -> None:
        """Give up: report each request in flight with this failure, close the connection, and report the lane as broken."""

    def close(self) -> None:
        """Close the connection. Nothing is reported any more."""


class Driver(Protocol):
    """Speaks one protocol. It is created once in each client process, from `Work`."""

    wire: str
    """The protocol; the null server of the same name finds the client's own ceiling."""

    operations: tuple[str, ...]
    opened: int
    """How many connections were opened, so that a result can show that none was opened for a request."""

    said: str
    """What the service said with its first error; empty if it had none, or if its protocol has no words for it."""

    def __init__(self, work: Work) -> None: ...

    async def prepare(self) -> dict[str, Any]:
        """Make the population that the operations draw from, and return what was made. One process does this, before any load.

        Raises:
            JobError: The service cannot be reached, or refuses.
        """

    def begin(self, weights: Mapping[str, float], seed: str) -> None:
        """Draw the operations of the next phase, and make their bytes. It is called before the phase, while nothing is in flight.

        Args:
            weights: The weight of each operation of the phase, by its name.
        """

    async def open(self, sink: Sink) -> Lane:
        """Open one connection, up to the point where a request can be sent.

        Raises:
            OSError: It cannot be opened. The driver turns every such error of its library into this one.
        """

    async def clean(self) -> None:
        """Remove what `prepare` made, and nothing else."""

    def facts(self) -> dict[str, Any]:
        """Return versions, and what the service says about itself."""


class Keeper(Driver, Protocol):
    """Is a driver that keeps more of each answer than its record holds. `DriverEntry.keeps` says which drivers are."""

    def keep(self, records: Path) -> None:
        """Begin the files of a phase, beside the file of its records. It is called before the connections of the phase are opened."""

    def settle(self, records: Path) -> None:
        """Read what was kept, after the phase has ended and its records are written.

        It writes the files that `shared.request_records.SECTIONS` names, and may correct what became of a request.
        """


class Searcher(Driver, Protocol):
    """Is a driver whose answers are compared with known ones after the load. `DriverEntry.searches` says which drivers are."""

    async def make_ready(self, phase: str) -> None:
        """Wait until the service is ready for a phase, such as for its index. It is called before `begin`.

        Raises:
            JobError: It does not get ready.
        """

    def findings(self) -> dict[str, Any]:
        """Return what the comparison gave. It is called once, when no process sends anything any more."""


class Counter(Driver, Protocol):
    """Is a driver of a service that counts itself what it does. `DriverEntry.counts` says which drivers are."""

    async def counted(self) -> dict[str, float]:
        """Return what the service has counted until now. It is called before and after each repeat.

        Raises:
            JobError: The service does not tell.
        """
