"""Drives PostgreSQL: single rows that are inserted, and single rows that are read by their key.

asyncpg opens each connection, logs in, and prepares one statement for each operation. Then the connection is handed over to a lane of ours,
which sends the bytes of Bind, Execute and Sync and waits for ReadyForQuery. With asyncpg itself, one process reaches less than a third of
pgbench's rate, and most of each latency is its own (docs/why/benchmarks.md).
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Mapping, Sequence
from random import Random
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit

import asyncpg

from shared.errors import EngineUnavailable, ModelInvalid
from shared.request_records import ERROR, SUCCESS, WRONG
from worker.drivers.keys import about_key
from worker.drivers.wire import WireLane

if TYPE_CHECKING:
    from worker.drivers.base import Lane, Sink, Work

INSERT, SELECT = 0, 1
DRAWS = 65_536
VALUE = "x" * 84  # a row has the size of one of pgbench's: its filler is char(84)
MARK = "made by fleetmark for a load; it may be dropped"
DEFAULTS: dict[str, Any] = {"db_name": "benchmark", "num_rows": 10_000, "table_name": "stress_test", "user": "postgres"}
HEAD_OF_ROW = 10  # bytes of an answer to a SELECT until the length of its row, which is among them
DATA_ROW, ERROR_RESPONSE, READY, HEAD = ord("D"), ord("E"), ord("Z"), 5
MOST_MESSAGE_BYTES = 2**30


class PostgresLane(WireLane):
    """Is one connection with its prepared statements."""

    def __init__(self, driver: PostgresDriver, sink: Sink, connection: asyncpg.Connection[Any], statements: Sequence[Any]) -> None:
        super().__init__(sink)
        self._driver, self._connection = driver, connection
        self._statements = statements  # asyncpg closes a statement that nobody holds
        self._data = b""
        self._rows, self._failed = 0, False
        self._head, self._length = b"", 0  # how the last answer to a SELECT began, and how long it was

    def send(self, number: int, scheduled: int) -> None:
        driver, place = self._driver, number % DRAWS
        self.waiting.append(driver.kinds[place])
        self.write(driver.commands[place], scheduled)

    def data_received(self, data: bytes) -> None:
        now = perf_counter_ns()
        if len(data) == self._length and not self.first and self.waiting == _SELECTS and self._is_like_the_last(data):
            self.waiting.clear()
            self.sink.done(self.scheduled, self.sent, now, now, self.size + self._length, 0, SELECT, SUCCESS)
            self.sent = 0
            self.sink.free(self)
            return
        if not self.first:
            self.first = now
        self.size += len(data)
        if self._data:
            data = self._data + data
        elif self.waiting and _is_usual(self.waiting[0], data):
            self._rows = 0
            if self.waiting[0] == SELECT:
                self._rows, self._head, self._length = 1, data[:HEAD_OF_ROW], len(data)
            self._answered(now)
            return
        place, end = 0, len(data)
        while end - place >= HEAD:
            kind = data[place]
            length = 1 + int.from_bytes(data[place + 1 : place + HEAD], "big")
            if not HEAD <= length <= MOST_MESSAGE_BYTES:
                self.abort(WRONG)
                return
            if end - place < length:
                break
            place += length
            if kind == DATA_ROW:
                self._rows += 1
            elif kind == ERROR_RESPONSE:
                self._failed = True
                fields = data[place - length + HEAD : place].split(b"\0")
                text = next((field[1:] for field in fields if field[:1] == b"M"), b"")
                self._driver.said = self._driver.said or text.decode(errors="replace")
            elif kind == READY and self.waiting:
                self._answered(now)
        self._data = data[place:]

    def _is_like_the_last(self, data: bytes) -> bool:
        """Return whether an answer to a SELECT, as long as the last one, is of the usual form, so that it need not be taken apart."""
        return data.startswith(self._head) and data.endswith(_SELECTED)

    def _answered(self, now: int) -> None:
        operation = self.waiting.pop()
        rows, failed, self._rows, self._failed = self._rows, self._failed, 0, False
        failure = ERROR if failed else SUCCESS if rows == (operation == SELECT) else WRONG
        self.sink.done(self.scheduled, self.sent, self.first, now, self.size, 0, operation, failure)
        self.sent = 0
        self.sink.free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._connection.terminate()  # or asyncpg warns that somebody forgot it

    def abort(self, failure: int) -> None:
        super().abort(failure)
        self._connection.terminate()

    def close(self) -> None:
        super().close()
        self._connection.terminate()


def _is_usual(operation: int, data: bytes) -> bool:
    """Return whether these bytes are exactly one whole answer of the usual form. Then they need not be taken apart.

    The messages of such an answer are BindComplete, one DataRow of a SELECT, CommandComplete and ReadyForQuery.
    """
    if operation == SELECT:
        row = int.from_bytes(data[6:10], "big") + 1
        return data[:6] == b"2\0\0\0\4D" and data[5 + row :] == _SELECTED
    return data == _INSERTED


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4, "big") + body


def command(statement: bytes, parameter: bytes) -> bytes:
    """Return Bind (one parameter, as text), Execute (all rows) and Sync, as the protocol 3.0 of PostgreSQL has them."""
    bound = b"\0" + statement + b"\0" + b"\0\0" + b"\0\1" + len(parameter).to_bytes(4, "big") + parameter + b"\0\0"
    return _message(b"B", bound) + _message(b"E", b"\0" + bytes(4)) + _message(b"S", b"")


# The last byte says that no transaction is open.
_SELECTED = _message(b"C", b"SELECT 1\0") + b"Z\0\0\0\5I"
_SELECTS = [SELECT]
_INSERTED = b"2\0\0\0\4" + _message(b"C", b"INSERT 0 1\0") + b"Z\0\0\0\5I"


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
        self._about_password = about_key(
            "FLEETMARK_WORKER_POSTGRES_PASSWORD", given="password" in work.secrets, in_address=bool(parts.password), what="password"
        )
        table = str(settings["table_name"])
        if not table.replace("_", "a").isalnum() or not table.isascii():
            raise ModelInvalid(f"client.settings.table_name is {table!r:.100}; write letters, digits and underscores")
        self._table = table
        self._rows = int(settings["num_rows"])
        self.kinds = array("B")
        self.commands: list[bytes] = []
        self.opened = 0
        self.said = ""

    def begin(self, weights: Mapping[str, float], seed: str) -> None:
        draw = Random(f"postgres/{seed}")  # noqa: S311 - draws what is sent, no secrets
        self.kinds = array("B", draw.choices((INSERT, SELECT), [weights.get(name, 0.0) for name in self.operations], k=DRAWS))
        insert, selects = command(b"insert", VALUE.encode()), {}
        self.commands = []
        for kind in self.kinds:
            key = draw.randrange(self._rows)
            if kind == SELECT and key not in selects:
                selects[key] = command(b"select", str(key).encode())
            self.commands.append(insert if kind == INSERT else selects[key])

    async def connect(self) -> asyncpg.Connection[Any]:
        """Open a connection.

        Raises:
            OSError: It cannot be opened; every error of asyncpg becomes this one.
        """
        try:
            connection = await asyncpg.connect(**self._where, statement_cache_size=0, server_settings={"application_name": "fleetmark"})
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            advice = f". {self._about_password}" if isinstance(error, asyncpg.InvalidPasswordError) else ""
            raise ConnectionError(f"PostgreSQL at {self.place} refuses a connection: {error}{advice}") from error
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
                await connection.prepare(f"INSERT INTO {self._table} (value) VALUES ($1)", name="insert"),  # noqa: S608 - its name was checked
                await connection.prepare(f"SELECT value FROM {self._table} WHERE id = $1", name="select"),  # noqa: S608 - its name was checked
            ]
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            connection.terminate()
            raise ConnectionError(f"PostgreSQL at {self.place} refuses a statement: {error}") from error
        lane = PostgresLane(self, sink, connection, statements)
        transport = cast("asyncio.Transport", connection._transport)  # it has no public name; a test of each driver fails if it goes
        transport.set_protocol(lane)
        lane.connection_made(transport)
        return lane

    async def clean(self) -> None:
        connection = await self.connect()
        try:
            if await self._is_there(connection) and await self._is_ours(connection):
                await connection.execute(f"DROP TABLE {self._table}")
        finally:
            await connection.close()

    def facts(self) -> dict[str, Any]:
        return {"software": {"asyncpg": asyncpg.__version__}}
