"""Makes the bucket and the objects that a load on an S3 server draws from, and removes them.

A bucket that this program uses has an object named `MARK`. Its content says whether the bucket was made here, or was there and empty. A
bucket that has objects and no such mark belongs to somebody else: it is refused, and nothing in it is read, written or removed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from html import unescape
from random import Random
from typing import Any

from shared.clock import Clock
from shared.errors import EngineUnavailable
from worker.drivers.http_address import HttpAddress
from worker.drivers.http_talk import Answer, HttpTalk
from worker.drivers.s3_signing import Signer

PREFIX = "fleetmark/"  # of every object; all of them are in one folder, for servers that have folders
MARK = "fleetmark-uses-this-bucket"
MADE, FOUND = b"made", b"found empty"
TALKS = 8  # connections that make and remove objects, if there are more than a few of them
MANY = 64
STAMP_BYTES = 16  # at the begin of each object: which one it is
_CODE, _MESSAGE = re.compile(r"<Code>(.*?)</Code>", re.DOTALL), re.compile(r"<Message>(.*?)</Message>", re.DOTALL)
_KEY = re.compile(r"<Key>(.*?)</Key>", re.DOTALL)


def error_in(text: str) -> str:
    """Return the code and the message of an error of S3, or the begin of a text that is none."""
    code, message = _CODE.search(text), _MESSAGE.search(text)
    found = [unescape(part[1]) for part in (code, message) if part is not None]
    return ": ".join(found) or " ".join(text.split())[:200]


def block(size: int, seed: str) -> bytes:
    """Return random bytes of the size of an object."""
    return Random(f"minio/{seed}").randbytes(size)  # noqa: S311 - draws what is sent, no secrets


def content(number: int, source: int, block: bytes) -> list[bytes | memoryview]:
    """Return the content of an object in two parts: a stamp that no other object has, and the rest of the block.

    Args:
        source: 0 for the population; otherwise it tells client processes apart.
    """
    stamp = (number.to_bytes(8, "big") + source.to_bytes(8, "big"))[: len(block)]
    return [stamp, memoryview(block)[len(stamp) :]]


class Bucket:
    """Is one bucket of a server, for the time of an `async with`.

    Args:
        on_open: Called for each connection that is opened.
    """

    def __init__(self, name: str, address: HttpAddress, signer: Signer, clock: Clock, on_open: Callable[[], None]) -> None:
        self._name, self._address, self._signer, self._clock = name, address, signer, clock
        self._talks = [HttpTalk(address, on_open) for _ in range(TALKS)]  # a connection is opened when it is needed
        self._talk = self._talks[0]

    async def __aenter__(self) -> Bucket:
        return self

    async def __aexit__(self, *_error: object) -> None:
        for talk in self._talks:
            talk.close()

    async def prepare(self, keys: Sequence[str], size: int) -> dict[str, Any]:
        """Make the bucket if it is not there, remove what an earlier load left in it, and write the population.

        Raises:
            EngineUnavailable: The server refuses, or the bucket belongs to somebody else.
        """
        server = await self._claim()
        await self._remove_ours()
        data = block(size, "population")
        # The first one alone: a server that keeps objects as files makes the folder then, and may fail if several want to make it at once.
        await self._put(self._talk, keys[0], content(0, 0, data))
        await self._each(len(keys) - 1, lambda talk, number: self._put(talk, keys[number + 1], content(number + 1, 0, data)))
        return {
            "bucket": self._name,
            "prefix": PREFIX,
            "objects": len(keys),
            "object_size_bytes": size,
            "server": {"s3_server": server} if server else {},
        }

    async def clean(self) -> None:
        """Remove our objects, and the bucket if it was made here. A bucket without our mark is left alone."""
        mark = await self._ask("GET", MARK)
        if mark.status != 200:
            return
        await self._remove_ours()
        self._need(await self._ask("DELETE", MARK), (200, 204, 404), "remove its mark from")
        if mark.body == MADE:
            done = await self._ask("DELETE")
            if done.status != 409:  # it is not empty: somebody else has put something in it, and keeps it
                self._need(done, (200, 204), "remove")

    async def _claim(self) -> str:
        """Make the bucket ours, and return the name of the server software."""
        listed = await self._ask("GET", query={"list-type": "2", "max-keys": "1"})
        server = listed.headers.get("server", "")
        if listed.status == 404 and "NoSuchBucket" in _text(listed):
            region = self._signer.region
            where = f"<CreateBucketConfiguration><LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
            made = await self._ask("PUT", "", *(() if region == "us-east-1" else (where.encode(),)))
            self._need(made, (200,), "make")
            await self._put(self._talk, MARK, [MADE])
            return server
        self._need(listed, (200,), "list")
        if (await self._ask("GET", MARK)).status == 200:
            return server
        if _KEY.search(_text(listed)):
            raise EngineUnavailable(
                f"the bucket {self._name} at {self._address.place} has objects and was not made by Fleetmark, so it is left alone; "
                "let client.settings.bucket name one that does not exist, or one that is empty"
            )
        await self._put(self._talk, MARK, [FOUND])
        return server

    async def _remove_ours(self) -> None:
        """Remove every object below our prefix. A list holds at most 1 000 of them."""
        while True:
            listed = await self._ask("GET", query={"list-type": "2", "prefix": PREFIX})
            self._need(listed, (200,), "list our objects in")
            keys = [key for found in _KEY.findall(_text(listed)) if (key := unescape(found)).startswith(PREFIX)]
            if not keys:
                return
            await self._each(len(keys), lambda talk, number, keys=keys: self._delete(talk, keys[number]))  # type: ignore[misc]

    async def _put(self, talk: HttpTalk, key: str, parts: Sequence[bytes | memoryview]) -> None:
        self._need(await talk.ask("PUT", self._target("PUT", key), *parts), (200,), f"write {key} to")

    async def _delete(self, talk: HttpTalk, key: str) -> None:
        self._need(await talk.ask("DELETE", self._target("DELETE", key)), (200, 204, 404), f"remove {key} from")

    async def _each(self, count: int, work: Callable[[HttpTalk, int], Awaitable[None]]) -> None:
        """Do something for each number, over several connections if there are many."""
        numbers = iter(range(count))

        async def some(talk: HttpTalk) -> None:
            for number in numbers:
                await work(talk, number)

        await asyncio.gather(*(some(talk) for talk in (self._talks if count > MANY else self._talks[:1])))

    async def _ask(self, method: str, key: str = "", *body: bytes, query: Mapping[str, str] | None = None) -> Answer:
        return await self._talk.ask(method, self._target(method, key, query), *body)

    def _target(self, method: str, key: str = "", query: Mapping[str, str] | None = None) -> str:
        return self._signer.target(method, self._address.named, path_of(self._name, key), query or {}, self._clock.now())

    def _need(self, answer: Answer, expected: Sequence[int], what: str) -> None:
        """Check that the server did what it was asked for.

        Raises:
            EngineUnavailable: It did not. The message says why, and shows the begin of the access key.
        """
        if answer.status in expected:
            return
        key = self._signer.access_key
        shown = f"with the access key {key[:4]}***" if key else "without an access key"
        raise EngineUnavailable(
            f"the S3 server at {self._address.place} refuses to {what} the bucket {self._name} {shown} (status {answer.status}): "
            f"{error_in(_text(answer)) or 'it gives no reason'}"
        )


def path_of(bucket: str, key: str = "") -> str:
    """Return the path of a bucket or of an object in it."""
    return f"/{bucket}/{key}" if key else f"/{bucket}"


def _text(answer: Answer) -> str:
    return answer.body.decode(errors="replace")
