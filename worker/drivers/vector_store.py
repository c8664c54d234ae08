"""Implements what the drivers of vector databases have in common: inserts in batches, queries, and the comparison with an exact search.

The bodies of all requests are made before the load. The answers to queries are kept as bytes, and are parsed and judged after it.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from array import array
from collections.abc import Mapping, Sequence
from random import Random
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, ClassVar

import httptools
import numpy as np

from shared.errors import EngineUnavailable, ModelInvalid
from shared.request_records import SUCCESS, WRONG
from worker.drivers.exchange import KeepingLane
from worker.drivers.http_address import HttpAddress
from worker.drivers.http_lane import judged
from worker.drivers.http_talk import Answer, HttpTalk
from worker.drivers.index_wait import wait_for_index
from worker.drivers.keys import about_key
from worker.drivers.recall import hits
from worker.drivers.vectors import Population

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from worker.drivers.base import Lane, Sink, Work

INSERT, QUERY = 0, 1
MADE = "made by fleetmark for a load; it may be removed"
DRAWS = 4_096
BYTES_A_NUMBER = 10  # of JSON
MOST_INSERT_BYTES = 2**30  # of the bodies that one process holds
MOST_QUERIES = 2_000  # different ones in each process; then they are asked again
MOST_QUERY_BYTES = 16 * 2**20
JUDGED = 1_000  # answers of each process that are compared with the exact search
DEFAULTS: dict[str, Any] = {
    "dim": 128,
    "batch_size": 100,
    "top_k": 10,
    "metric": "cosine",
    "distribution": "clustered",
    "collection": "benchmark",
    "index_timeout_s": 600.0,
    "ef_construction": None,
    "max_neighbors": None,
    "ef_search": None,
    "seed": None,
}


class VectorStore(ABC):
    """Implements `worker.drivers.base.Searcher`. A subclass knows the requests and the answers of its service."""

    wire = "vectors"
    operations: tuple[str, ...] = ("insert", "query")
    size_setting: ClassVar[str]
    """The setting that says how many vectors there are."""

    key_header: ClassVar[str]
    key_variable: ClassVar[str]
    """The header of the key of the service."""

    inserted: ClassVar[tuple[int, ...]] = (200,)
    """The statuses of an insert that succeeded."""

    own_defaults: ClassVar[Mapping[str, Any]] = {}
    """The defaults of settings, besides `DEFAULTS`."""

    def __init__(self, work: Work) -> None:
        written = {name: value for name, value in work.settings.items() if value is not None}
        settings = {**DEFAULTS, **self.own_defaults, **written}
        self.settings: Mapping[str, Any] = settings
        self.address = HttpAddress.of(work.address)
        if self.address.path.strip("/"):
            raise ModelInvalid(f"the address of a vector database has no path, and this one has {self.address.path!r:.100}; leave it out")
        self.headers = {"Content-Type": "application/json"} | ({self.key_header: work.secrets["key"]} if "key" in work.secrets else {})
        self.name, self.size, self.top_k = str(settings["collection"]), int(settings[self.size_setting]), int(settings["top_k"])
        self._batches = -(-self.size // int(settings["batch_size"]))
        self._client, self._clients = work.client, work.clients
        self._population = Population(int(settings["dim"]), str(settings["distribution"]), int(settings["seed"] or 0))
        self._kinds = array("B")
        self._inserts: list[bytes] = []
        self._queries: list[bytes] = []
        self._asked: NDArray[np.float64] = np.zeros((0, self._population.dim))
        self._answers: dict[int, bytes] = {}
        self._index: dict[str, Any] = {}
        self.opened = 0
        self.said = ""

    # What a subclass knows

    @abstractmethod
    async def make(self, talk: HttpTalk) -> dict[str, Any]:
        """Make an empty collection, in place of one that an earlier load has left. Return the name and version of the server.

        Raises:
            EngineUnavailable: The server refuses, or has a collection of this name that is not ours.
        """

    @abstractmethod
    async def remove(self, talk: HttpTalk) -> None:
        """Remove the collection if it is ours."""

    @abstractmethod
    async def find(self, talk: HttpTalk) -> None:
        """Find out what requests to the collection need to know. Every client process does this before its first request."""

    @abstractmethod
    async def progress(self, talk: HttpTalk) -> tuple[int, bool, str]:
        """Return how many vectors the collection has, whether its index is complete, and what the server said of it."""

    @abstractmethod
    def insert(self, numbers: range, rows: list[list[float]]) -> bytes:
        """Return the request that inserts some vectors."""

    @abstractmethod
    def query(self, row: list[float]) -> bytes:
        """Return the request for the vectors that are nearest to one."""

    @abstractmethod
    def is_usual(self, body: bytes) -> bool:
        """Return whether an answer to a query begins as such an answer does. It is called while the load runs."""

    @abstractmethod
    def found(self, answer: Any) -> list[int]:
        """Return the numbers of the vectors in an answer to a query, the nearest first.

        Raises:
            KeyError, TypeError, ValueError, IndexError: It is no such answer.
        """

    @abstractmethod
    def words_of(self, body: bytes) -> str:
        """Return what the server says in an error."""

    # Making ready

    async def prepare(self) -> dict[str, Any]:
        async with self.talk() as talk:
            server = await self.make(talk)
        stated = {name: self.settings[name] for name in ("dim", "metric", "distribution", "top_k")}
        return {"collection": self.name, "vectors": self.size, **stated, "inserts": self._batches, "server": server}

    async def clean(self) -> None:
        async with self.talk() as talk:
            await self.remove(talk)

    async def make_ready(self, phase: str) -> None:
        """Find the collection before the inserts, and wait for its index before the queries.

        Raises:
            EngineUnavailable: The collection is not there, or its index is not complete in time.
        """
        async with self.talk() as talk:
            if phase in self.operations:
                await self.find(talk)
            if phase == "query":
                begin = perf_counter_ns()
                count, said = await wait_for_index(lambda: self.progress(talk), self.size, float(self.settings["index_timeout_s"]))
                self._index = {"vectors": count, "wait_s": (perf_counter_ns() - begin) / 1e9, "said": said}

    def talk(self) -> HttpTalk:
        return HttpTalk(self.address, self._count)

    def need(self, answer: Answer, expected: Sequence[int], what: str) -> Any:
        """Return the JSON of an answer.

        Raises:
            EngineUnavailable: Its status is another one, or it is no JSON.
        """
        if answer.status not in expected:
            said = self.words_of(answer.body) or "it gives no reason"
            if answer.status in (401, 403):
                said += f". {about_key(self.key_variable, given=self.key_header in self.headers)}"
            raise EngineUnavailable(f"{self.address.place} refuses to {what} (status {answer.status}): {said}")
        try:
            return json.loads(answer.body) if answer.body else {}
        except ValueError as error:
            raise EngineUnavailable(
                f"{self.address.place} does not answer with JSON when it shall {what}: {answer.body[:100]!r}"
            ) from error

    def refuse_foreign(self, dim: object) -> EngineUnavailable:
        """Return the error for a collection that is not ours."""
        own = self._population.dim
        differs = f" Its vectors have {dim} dimensions, and client.settings.dim is {own}." if dim is not None and dim != own else ""
        return EngineUnavailable(
            f"{self.address.place} has a collection {self.name} that Fleetmark has not made, so it is left alone.{differs} "
            "Choose another client.settings.collection"
        )

    # The load

    def begin(self, weights: Mapping[str, float], seed: str) -> None:
        draw = Random(f"vectors/{seed}")  # noqa: S311 - draws what is sent, no secrets
        shares = [weights.get(name, 0.0) for name in self.operations]
        self._kinds = array("B", draw.choices(range(len(shares)), shares, k=DRAWS))
        if weights.get("insert"):
            self._inserts = self._made_inserts()
        if weights.get("query"):
            most = max(1, min(MOST_QUERIES, MOST_QUERY_BYTES // (self._population.dim * BYTES_A_NUMBER)))
            self._asked = self._population.queries(seed, most)
            self._queries = [self.query(row) for row in self._asked.tolist()]
            self._answers = {}

    def _made_inserts(self) -> list[bytes]:
        """Return the inserts of this process: every `clients`-th batch. Batches differ by at most one vector."""
        mine = range(self._client, self._batches, self._clients)
        needed = self.size // self._clients * self._population.dim * BYTES_A_NUMBER
        if needed > MOST_INSERT_BYTES:
            raise ModelInvalid(
                f"client.settings: the inserts of {self.size} vectors of {self._population.dim} dimensions take {needed / 2**30:.1f} GiB "
                f"in each of {self._clients} client processes; ask for fewer vectors, or for more benchmarks.num_clients"
            )
        made = []
        for batch in mine:
            begin, end = batch * self.size // self._batches, (batch + 1) * self.size // self._batches
            made.append(self.insert(range(begin, end), self._population.rows(begin, end).tolist()))
        return made

    def request(self, number: int) -> tuple[int, Sequence[bytes | memoryview]]:
        kind = self._kinds[number % DRAWS]
        chosen = self._inserts if kind == INSERT else self._queries
        return kind, (chosen[number % len(chosen)],)

    def answered(self, number: int, operation: int, status: int, length: int | None, body: bytes) -> int:
        failure = judged(status, self.inserted if operation == INSERT else (200,))
        if failure != SUCCESS:
            self.said = self.said or self.words_of(body)
        elif operation == QUERY:
            if not self.is_usual(body):
                self.said = self.said or f"an answer to a query begins with {body[:60]!r}"
                return WRONG
            self._answers.setdefault(number % len(self._queries), body)
        return failure

    async def open(self, sink: Sink) -> Lane:
        lane = await self.address.connect(lambda: KeepingLane(self, sink))
        self._count()
        return lane

    def _count(self) -> None:
        self.opened += 1

    # After the load

    def findings(self) -> dict[str, Any]:
        """Return how many of the answers are right, and how long the index took."""
        read: dict[int, list[int]] = {}
        unreadable = 0
        for place, body in list(self._answers.items())[:JUDGED]:
            try:
                read[place] = self.found(json.loads(body))
            except (KeyError, TypeError, ValueError, IndexError):
                unreadable += 1
        right = hits(self._asked, read, self._population, self.size, str(self.settings["metric"]), self.top_k)
        return {"right": right, "asked": len(read) * self.top_k, "queries": len(read), "unreadable": unreadable, "index": self._index}

    def facts(self) -> dict[str, Any]:
        return {"software": {"httptools": httptools.__version__, "numpy": np.__version__}}
