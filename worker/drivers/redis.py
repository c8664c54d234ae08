"""Drives Redis and what speaks its protocol: GET and SET, one after the other or in a pipeline.

The stream is read by the parser of hiredis. The bytes of all commands are made before the load begins.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Mapping, Sequence
from random import Random
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import hiredis

from shared.errors import EngineUnavailable, ModelInvalid
from shared.request_records import ERROR, SUCCESS, WRONG
from worker.drivers.keys import about_key
from worker.drivers.population import ranks
from worker.drivers.wire import WireLane

if TYPE_CHECKING:
    from worker.drivers.base import Lane, Sink, Work

GET, SET = 0, 1
PREFIX = b"fleetmark:"
FIRST = 10**12  # the number of the first key, if there is room: memtier_benchmark writes no zeros before a number, so all have 13 digits
MOST_COMMAND_BYTES = 64 * 2**20  # of the commands that are made before the load
DRAWS = 65_536  # as many draws of command and key are made before the load; then they start again
PATIENCE_S = 30.0  # for one answer while the population is made
DEFAULTS: dict[str, Any] = {"key_size_bytes": 32, "value_size_bytes": 256, "pipeline": 1, "num_keys": 10_000, "key_distribution": "uniform"}

_pack: Callable[[tuple[bytes, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment]  # its stub allows one part only


class RedisLane(WireLane):
    """Is one connection to Redis."""

    def __init__(self, driver: RedisDriver, sink: Sink) -> None:
        super().__init__(sink)
        self._driver = driver
        self.at_once = driver.pipeline
        self._reader = hiredis.Reader()

    def send(self, number: int, scheduled: int) -> None:
        driver = self._driver
        if self.at_once == 1:
            place = number % DRAWS
            self.waiting.append(driver.kinds[place])
            self.write(driver.commands[place], scheduled)
            return
        places = [each % DRAWS for each in range(number, number + self.at_once)]
        self.waiting.extend(driver.kinds[place] for place in reversed(places))  # the last one is answered first; see `pop` below
        self.write(b"".join([driver.commands[place] for place in places]), scheduled)

    def data_received(self, data: bytes) -> None:
        now = perf_counter_ns()
        if not self.waiting:
            return  # an answer to nothing; the next request will see that it is wrong
        if not self.first:
            self.first = now
        self.size += len(data)
        reader = self._reader
        reader.feed(data)
        try:
            reply = reader.gets()
            while reply is not False:
                operation = self.waiting.pop()
                size = self.size // self.at_once
                self.sink.done(self.scheduled, self.sent, self.first, now, size, 0, operation, self._judge(operation, reply))
                if not self.waiting:
                    self.sent = 0
                    self.sink.free(self)
                    return
                reply = reader.gets()
        except hiredis.ProtocolError:
            self.abort(WRONG)

    def _judge(self, operation: int, reply: Any) -> int:
        if isinstance(reply, hiredis.ReplyError):
            self._driver.said = self._driver.said or str(reply)
            return ERROR
        if operation == SET:
            return SUCCESS if reply == b"OK" else WRONG
        return SUCCESS if isinstance(reply, bytes) and len(reply) == self._driver.value_size else WRONG


class RedisDriver:
    """Drives one Redis server."""

    wire = "redis"
    operations = ("get", "set")

    def __init__(self, work: Work) -> None:
        settings = DEFAULTS | {name: value for name, value in work.settings.items() if value is not None}
        parts = urlsplit(work.address if "://" in work.address else f"redis://{work.address}")
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 6379
        self._database = parts.path.strip("/") or str(settings.get("database") or "")
        self._user = unquote(parts.username or "")
        self._password = work.secrets.get("password") or unquote(parts.password or "")
        self._about_password = about_key(
            "FLEETMARK_WORKER_REDIS_PASSWORD", given="password" in work.secrets, in_address=bool(parts.password), what="password"
        )
        self._tls = parts.scheme == "rediss"
        self.pipeline = int(settings["pipeline"])
        self.value_size = int(settings["value_size_bytes"])
        self._keys = int(settings["num_keys"])
        self._key_size = int(settings["key_size_bytes"])
        self._check(work.address)
        self._distribution = str(settings["key_distribution"])
        self.kinds = array("B")
        self.commands: list[bytes] = []
        self.opened = 0
        self.said = ""
        self._server: dict[str, str] = {}

    def _check(self, address: str) -> None:
        needed = len(PREFIX) + len(str(self._keys - 1))
        if self._key_size < needed:
            raise ModelInvalid(
                f"client.settings.key_size_bytes is {self._key_size}, and {self._keys} keys with our prefix need {needed} bytes; "
                f"write at least {needed}, or a smaller num_keys"
            )
        if self._keys < 1 or self.pipeline < 1 or self.value_size < 0:
            raise ModelInvalid("client.settings: num_keys and pipeline are at least 1, and value_size_bytes is at least 0")
        if self._database and not self._database.isdigit():
            raise ModelInvalid(f"the path of a Redis address is the number of a database, and {address!r} has {self._database!r}")

    def begin(self, weights: Mapping[str, float], seed: str) -> None:
        draw = Random(f"redis/{seed}")  # noqa: S311 - draws what is sent, no secrets
        self.kinds = array("B", draw.choices((GET, SET), [weights.get(name, 0.0) for name in self.operations], k=DRAWS))
        self.commands = self._made(draw, ranks(draw, self._distribution, self._keys, DRAWS))

    def key(self, rank: int) -> bytes:
        digits = self._key_size - len(PREFIX)
        return PREFIX + str(rank + (FIRST if digits >= len(str(FIRST)) else 0)).zfill(digits).encode()

    def _made(self, draw: Random, drawn: Sequence[int]) -> list[bytes]:
        values = [draw.randbytes(self.value_size) for _ in range(max(1, min(256, MOST_COMMAND_BYTES // max(1, self.value_size))))]
        gets: dict[int, bytes] = {}
        sets: dict[int, bytes] = {}
        # As many different SET commands as memory allows; then the same bytes are sent for several keys' turns.
        most_sets = max(1, MOST_COMMAND_BYTES // (self.value_size + self._key_size + 40))
        commands = []
        for kind, rank in zip(self.kinds, drawn, strict=True):
            if kind == GET:
                command = gets.get(rank) or gets.setdefault(rank, _pack((b"GET", self.key(rank))))
            else:
                rank %= most_sets
                command = sets.get(rank) or sets.setdefault(rank, _pack((b"SET", self.key(rank), values[rank % len(values)])))
            commands.append(command)
        return commands

    async def prepare(self) -> dict[str, Any]:
        """Write every key of the population, so that each GET finds a value."""
        value = Random("redis/population").randbytes(self.value_size)  # noqa: S311 - draws what is sent, no secrets
        step = max(1, min(1_000, MOST_COMMAND_BYTES // (self.value_size + 100)))
        async with _Talk(self) as talk:
            for begin in range(0, self._keys, step):
                pairs = [part for rank in range(begin, min(begin + step, self._keys)) for part in (self.key(rank), value)]
                await talk.ask(b"MSET", *pairs)
            info = await talk.ask(b"INFO", b"server")
        told = dict(line.split(":", 1) for line in info.decode(errors="replace").splitlines() if ":" in line)
        name = next((key for key in ("valkey_version", "dragonfly_version", "redis_version") if key in told), "")
        self._server = {name.removesuffix("_version"): told[name]} if name else {}
        return {"keys": self._keys, "prefix": PREFIX.decode(), "server": self._server}

    async def open(self, sink: Sink) -> Lane:
        lane = RedisLane(self, sink)
        async with _Talk(self) as talk:
            transport = talk.hand_over(lane)
        lane.connection_made(transport)
        return lane

    async def clean(self) -> None:
        async with _Talk(self) as talk:
            for begin in range(0, self._keys, 1_000):
                await talk.ask(b"UNLINK", *(self.key(rank) for rank in range(begin, min(begin + 1_000, self._keys))))

    def facts(self) -> dict[str, Any]:
        return {"software": {"hiredis": hiredis.__version__}}

    async def connect(self, protocol: asyncio.Protocol) -> asyncio.Transport:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(lambda: protocol, self._host, self._port, ssl=True if self._tls else None)
        self.opened += 1
        return transport

    def greeting(self) -> list[tuple[bytes, ...]]:
        """Return the commands that a new connection needs before any other."""
        login = [part.encode() for part in (self._user, self._password) if part]
        return [*([(b"AUTH", *login)] if login else []), *([(b"SELECT", self._database.encode())] if self._database else [])]

    @property
    def place(self) -> str:
        return f"{self._host}:{self._port}"

    def advice(self, reply: str) -> str:
        """Return what to do about an error of the server, as the end of a sentence. Empty if it says so itself."""
        name = reply.partition(" ")[0]
        if name in ("NOAUTH", "WRONGPASS"):
            return f" {self._about_password}"
        return " The keys need more memory: write a larger `maxmemory`, or fewer `num_keys`" if name == "OOM" else ""


class _Talk(asyncio.Protocol):
    """Asks one command after the other, outside of any measurement: to log in, to make the population, and to clean."""

    def __init__(self, driver: RedisDriver) -> None:
        self._driver = driver
        self._reader = hiredis.Reader()
        self._answer: asyncio.Future[Any] | None = None
        self._transport: asyncio.Transport | None = None

    async def __aenter__(self) -> _Talk:
        self._transport = await self._driver.connect(self)
        try:
            for command in self._driver.greeting():
                await self.ask(*command)
        except BaseException:
            self._transport.close()
            raise
        return self

    async def __aexit__(self, *_error: object) -> None:
        if self._transport is not None:
            self._transport.close()

    def hand_over(self, lane: RedisLane) -> asyncio.Transport:
        """Give the connection to a lane."""
        transport, self._transport = self._transport, None
        assert transport is not None
        transport.set_protocol(lane)
        return transport

    async def ask(self, *command: bytes) -> Any:
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(_pack(command))
        reply = await asyncio.wait_for(self._answer, PATIENCE_S)
        if isinstance(reply, hiredis.ReplyError):
            raise EngineUnavailable(
                f"Redis at {self._driver.place} refuses {command[0].decode()}: {reply}{self._driver.advice(str(reply))}"
            )
        return reply

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        reply = self._reader.gets()
        if reply is not False and self._answer is not None and not self._answer.done():
            self._answer.set_result(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError(f"{self._driver.place} closed the connection"))
