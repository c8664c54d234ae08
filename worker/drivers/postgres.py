"""Drives PostgreSQL: single rows that are inserted, and single rows that are read by their key.

Each virtual client has one connection of asyncpg, and on it one prepared statement for each operation. asyncpg's pool is not used: it sends
a command more for each operation. The first byte of an answer cannot be seen, because asyncpg hands over whole answers.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Coroutine, Mapping, Sequence
from random import Random
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit

import asyncpg

from shared.errors import EngineUnavailable, ModelInvalid
from shared.request_records import CLOSED, ERROR, SUCCESS, WRONG

if TYPE_CHECKING:
    from worker.drivers.base import Lane, Sink, Work

INSERT, SELECT = 0, 1
DRAWS = 65_536
VALUE = "x" * 84  # a row has the size of one of pgbench's: its filler is char(84)
MARK = "made by fleetmark for a load; it may be dropped"
DEFAULTS: dict[str, Any] = {"db_name": "benchmark", "num_rows": 10_000, "table_name": "stress_test", "user": "postgres"}
_LOST = (asyncpg.InterfaceError, asyncpg.PostgresConnectionError, OSError)


class PostgresLane:
    """Is one connection with its prepared statements.

    A request is a coroutine of asyncpg. It is driven here, one step whenever what it waits for is there, because a task for each request
    would add two turns of the event loop to its latency.
    """

    at_once = 1

    def __init__(self, driver: PostgresDriver, sink: Sink, connection: asyncpg.Connection[Any], statements: Sequence[Any]) -> None:
        self.sink = sink
        self.sent = self._scheduled = self._operation = 0
        self._driver, self._connection, self._statements = driver, connection, statements
        self._asking: Coroutine[Any, Any, list[Any]] | None = None
        self._gone = False
        connection.add_termination_listener(self._terminated)

    def send(self, number: int, scheduled: int) -> None:
        place = number % DRAWS
        operation = self._operation = self._driver.kinds[place]
        asking = self._asking = self._statements[operation].fetch(VALUE if operation == INSERT else self._driver.keys[place])
        sent = self.sent = perf_counter_ns()
        self._scheduled = scheduled or sent
        self._step(asking)

    def _step(self, asking: Coroutine[Any, Any, list[Any]]) -> None:
        try:
            waiting = asking.send(None)
        except StopIteration as stop:
            self._report(SUCCESS if len(stop.value) == (self._operation == SELECT) else WRONG)
        except _LOST:
            self._lost(CLOSED)
        except asyncpg.PostgresError:
            self._report(ERROR)
        else:
            if waiting is None:  # the coroutine gives way to others
                asyncio.get_running_loop().call_soon(self._step, asking)
                return
            waiting._asyncio_future_blocking = False  # as a task does with a future that it waits for
            waiting.add_done_callback(lambda _done: self._step(asking) if self._asking is asking else None)

    def _report(self, failure: int) -> None:
        if self._gone:
            return
        now = perf_counter_ns()
        self._asking = None
        self.sink.done(self._scheduled, self.sent, 0, now, 0, 0, self._operation, failure)
        self.sent = 0
        self.sink.free(self)

    def _terminated(self, _connection: object) -> None:
        self._lost(CLOSED)

    def _lost(self, failure: int) -> None:
        if self._gone:
            return
        self._gone = True
        if self.sent:
            self.sink.done(self._scheduled, self.sent, 0, perf_counter_ns(), 0, 0, self._operation, failure)
        self.sent = 0
        self._asking = None
        self.sink.broken(self)

    def abort(self, failure: int) -> None:
        self._lost(failure)
        self._connection.terminate()

    def close(self) -> None:
        self._gone = True
        self._connection.terminate()


class PostgresDriver:
    """Drives one database."""

    wire = "postgres"
    operations = ("insert", "select")

    def __init__(self, work: Work) -> None:
        settings = DEFAULTS | {name: value for name, value in work.settings.items() if value is not None}
        parts = urlsplit(work.address if "://" in work.address else f"postgresql://{work.address}")
        self._where: dict[str, Any] = {
            "host": parts.hostname or "127.0.0.1",
            "port": parts.port or 5432,
            "database": unquote(parts.path.strip("/")) or settings["db_name"],
            "user": unquote(parts.username or "") or settings["user"],
            "password": work.secrets.get("password") or unquote(parts.password or "") or None,
        }
        table = str(settings["table_name"])
        if not table.replace("_", "a").isalnum() or not table.isascii():
            raise ModelInvalid(f"client.settings.table_name is {table!r:.100}; write letters, digits and underscores")
        self._table = table
        self._rows = int(settings["num_rows"])
        self.kinds = array("B")
        self.keys = array("q")
        self.opened = 0

    def begin(self, weights: Mapping[str, float], seed: str) -> None:
        draw = Random(f"postgres/{seed}")  # noqa: S311 - draws what is sent, no secrets
        self.kinds = array("B", draw.choices((INSERT, SELECT), [weights.get(name, 0.0) for name in self.operations], k=DRAWS))
        self.keys = array("q", (draw.randrange(self._rows) for _ in range(DRAWS)))

    async def connect(self) -> asyncpg.Connection[Any]:
        """Open a connection.

        Raises:
            OSError: It cannot be opened; every error of asyncpg becomes this one.
        """
        try:
            connection = await asyncpg.connect(**self._where, statement_cache_size=0, server_settings={"application_name": "fleetmark"})
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise ConnectionError(f"PostgreSQL at {self.place} refuses a connection: {error}") from error
        self.opened += 1
        return connection

    @property
    def place(self) -> str:
        return f"{self._where['host']}:{self._where['port']}/{self._where['database']}"

    async def prepare(self) -> dict[str, Any]:
        """Make the table with its rows. A table of the same name that we have not made is refused, and never touched."""
        connection = await self.connect()
        try:
            if await self._is_there(connection):
                if not await self._is_ours(connection):
                    raise EngineUnavailable(
                        f"{self.place} has a table {self._table} that Fleetmark has not made; choose another client.settings.table_name"
                    )
                await connection.execute(f"DROP TABLE {self._table}")
            await connection.execute(
                f"CREATE TABLE {self._table} (id bigint GENERATED BY DEFAULT AS IDENTITY (START WITH {self._rows}) PRIMARY KEY, value text)"
            )
            await connection.execute(f"COMMENT ON TABLE {self._table} IS '{MARK}'")
            rows = ((number, VALUE) for number in range(self._rows))
            await connection.copy_records_to_table(self._table, records=rows, columns=["id", "value"])
            await connection.execute(f"VACUUM ANALYZE {self._table}")
            version = await connection.fetchval("SHOW server_version")
        except asyncpg.PostgresError as error:
            raise EngineUnavailable(f"the table {self._table} could not be made in {self.place}: {error}") from error
        finally:
            await connection.close()
        return {"rows": self._rows, "table": self._table, "server": {"postgresql": str(version)}}

    async def _is_there(self, connection: asyncpg.Connection[Any]) -> bool:
        return bool(await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", self._table))

    async def _is_ours(self, connection: asyncpg.Connection[Any]) -> bool:
        return bool(await connection.fetchval("SELECT obj_description(to_regclass($1), 'pg_class') = $2", self._table, MARK))

    async def open(self, sink: Sink) -> Lane:
        connection = await self.connect()
        try:
            statements = [
                await connection.prepare(f"INSERT INTO {self._table} (value) VALUES ($1)"),  # noqa: S608 - its name was checked
                await connection.prepare(f"SELECT value FROM {self._table} WHERE id = $1"),  # noqa: S608 - its name was checked
            ]
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            connection.terminate()
            raise ConnectionError(f"PostgreSQL at {self.place} refuses a statement: {error}") from error
        return cast("Lane", PostgresLane(self, sink, connection, statements))

    async def clean(self) -> None:
        connection = await self.connect()
        try:
            if await self._is_there(connection) and await self._is_ours(connection):
                await connection.execute(f"DROP TABLE {self._table}")
        finally:
            await connection.close()

    def facts(self) -> dict[str, Any]:
        return {"software": {"asyncpg": asyncpg.__version__}}
