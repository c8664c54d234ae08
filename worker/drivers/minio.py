"""Drives MinIO, and any other server that speaks the protocol of S3: PUT and GET of objects of one size.

The addresses of all requests are signed before the load begins (`s3_signing`), and the content of objects is made then. GETs ask for the
objects of the population. PUTs write objects of their own, other ones in each client process, and write them again when all are written.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import httptools

from shared.clock import SystemClock
from shared.errors import ModelInvalid
from shared.request_records import SUCCESS, WRONG
from worker.drivers.exchange import ExchangeLane
from worker.drivers.http_address import HttpAddress
from worker.drivers.http_lane import judged
from worker.drivers.population import ranks
from worker.drivers.s3_bucket import PREFIX, Bucket, block, content, error_in, path_of
from worker.drivers.s3_signing import Signer

if TYPE_CHECKING:
    from worker.drivers.base import Lane, Sink, Work

PUT, GET = 0, 1
DRAWS = 65_536  # as many draws of operation and object are made before the load; then they start again
MOST_WRITTEN = 10_000  # objects that one client process writes before it writes them again
DEFAULTS: dict[str, Any] = {
    "object_size_bytes": 1_048_576,
    "num_objects": 100,
    "bucket": "benchmark",
    "region": "us-east-1",
    "use_https": False,
    "key_distribution": "uniform",
}


class MinioDriver:
    """Drives one bucket of one server."""

    wire = "minio"
    operations: tuple[str, ...] = ("put", "get")

    def __init__(self, work: Work) -> None:
        settings = DEFAULTS | {name: value for name, value in work.settings.items() if value is not None}
        parts = urlsplit(work.address if "://" in work.address else f"http://{work.address}")
        if settings["use_https"]:
            parts = parts._replace(scheme="https")
        if parts.path.strip("/"):
            raise ModelInvalid(
                f"the address of an S3 server has no path, and this one has {parts.path!r:.100}; write the bucket into `bucket`"
            )
        self._address = HttpAddress.of(parts.geturl())
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        if not user:  # keys in the address are of that server alone, so they come first
            user, password = work.secrets.get("access_key", ""), work.secrets.get("secret_key", "")
        self._signer = Signer(user, password, str(settings["region"]))
        self._bucket = str(settings["bucket"])
        self._size = int(settings["object_size_bytes"])
        self._objects = int(settings["num_objects"])
        self._distribution = str(settings["key_distribution"])
        self._source = 1 + work.client
        self._clock = SystemClock()
        self._kinds = array("B")
        self._ranks = array("q")
        self._gets: dict[int, bytes] = {}
        self._puts: list[bytes] = []
        self._block = b""
        self.opened = 0
        self.said = ""

    def begin(self, weights: Mapping[str, float], seed: str) -> None:
        draw = Random(f"minio/{seed}")  # noqa: S311 - draws what is sent, no secrets
        self._kinds = array("B", draw.choices((PUT, GET), [weights.get(name, 0.0) for name in self.operations], k=DRAWS))
        self._ranks = ranks(draw, self._distribution, self._objects, DRAWS)
        asked = {rank for kind, rank in zip(self._kinds, self._ranks, strict=True) if kind == GET}
        self._gets = {rank: self._head("GET", self._key(rank)) for rank in asked}
        written = min(self._objects, MOST_WRITTEN) if weights.get("put") else 0
        self._puts = [self._head("PUT", f"{PREFIX}written-{self._source}-{number:08}") for number in range(written)]
        self._block = block(self._size, seed) if written else b""

    def _key(self, rank: int) -> str:
        return f"{PREFIX}object-{rank:08}"

    def _head(self, method: str, key: str) -> bytes:
        target = self._signer.target(method, self._address.named, path_of(self._bucket, key), {}, self._clock.now())
        return self._address.head(method, target, {}, self._size if method == "PUT" else 0)

    def request(self, number: int) -> tuple[int, Sequence[bytes | memoryview]]:
        place = number % DRAWS
        if self._kinds[place] == GET:
            return GET, (self._gets[self._ranks[place]],)
        return PUT, (self._puts[number % len(self._puts)], *content(number, self._source, self._block))

    def answered(self, number: int, operation: int, status: int, length: int | None, body: bytes) -> int:
        failure = judged(status, (200,))
        if failure != SUCCESS:
            self.said = self.said or error_in(body.decode(errors="replace"))
        elif operation == GET and length != self._size:
            self.said = self.said or f"an object has {length} bytes, and it was written with {self._size}"
            return WRONG
        return failure

    async def prepare(self) -> dict[str, Any]:
        async with self._opened_bucket() as bucket:
            return await bucket.prepare([self._key(rank) for rank in range(self._objects)], self._size)

    async def clean(self) -> None:
        async with self._opened_bucket() as bucket:
            await bucket.clean()

    def _opened_bucket(self) -> Bucket:
        return Bucket(self._bucket, self._address, self._signer, self._clock, self._count)

    def _count(self) -> None:
        self.opened += 1

    async def open(self, sink: Sink) -> Lane:
        lane = await self._address.connect(lambda: ExchangeLane(self, sink))
        self._count()
        return lane

    def facts(self) -> dict[str, Any]:
        return {"software": {"httptools": httptools.__version__}}
