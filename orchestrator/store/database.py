"""Connections and transactions.

SQLite writers begin with `BEGIN IMMEDIATE`: a transaction that reads first and writes later fails at once otherwise,
however long the busy timeout.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlmodel import Session

from orchestrator.store.types import read_json
from shared.clock import Clock, SystemClock
from shared.errors import Unavailable

T = TypeVar("T")

TRANSIENT_SQLSTATES = frozenset({"40001", "40P01"})  # serialization failure, deadlock detected
UNDEFINED_SQLSTATES = frozenset({"42P01", "42703"})  # no such table, no such column
READ_ONLY = "25006"  # a standby, or a failover that is not over
DISK_FULL = "53100"
FORBIDDEN = "42501"  # insufficient privilege: whoever asks, and whatever
LIMITS = "54"  # a class: what was asked is more than PostgreSQL can do, now or later
MIGRATE = "run `python -m orchestrator.cli migrate`"
MAX_TRIES = 5
SQLITE_BUSY_TIMEOUT_MS = 15_000
POOL_TIMEOUT_S = 10.0
# libpq's: a server that is cut off is given up after about as long as Redis is, not after the kernel's quarter of an hour.
POSTGRES_TIMEOUTS = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}


class Store:
    """The way to the database. One a process; safe to share between threads."""

    def __init__(self, url: str | URL, clock: Clock | None = None, *, foreign_keys: bool = True) -> None:
        """
        Args:
            foreign_keys: False lets SQLite leave references unchecked, for migrations.
        """
        self.url = make_url(url)
        self._clock = clock or SystemClock()
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = _sqlite_engine(self.url, foreign_keys) if self.is_sqlite else _postgres_engine(self.url)
        self._writing = self.engine.execution_options(fleetmark_write=True)
        # PostgreSQL takes a snapshot a statement either way; without BEGIN and ROLLBACK a read is two round trips shorter.
        self._reading = self.engine if self.is_sqlite else self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for queries alone.

        Raises:
            Unavailable: the database does not answer.
        """
        with _as_unavailable(), Session(self._reading) as session:
            yield session

    def transact(self, work: Callable[[Session], T]) -> T:
        """Run `work` in one transaction and commit it; deadlocks and serialization failures are tried again.

        `work` may run more than once, so it does nothing but read and write through its session.

        Raises:
            Unavailable: the database does not answer.
        """
        with _as_unavailable():
            for tries in range(1, MAX_TRIES + 1):
                try:
                    with Session(self._writing, expire_on_commit=False) as session, session.begin():
                        return work(session)
                except OperationalError as error:
                    if tries == MAX_TRIES or not _is_transient(error):
                        raise
                    self._clock.sleep(random.uniform(0.01, 0.05) * 2**tries)  # noqa: S311 (jitter, not a secret)
            raise AssertionError("unreachable: the last try returns or raises")

    def ping_ms(self) -> float:
        """How long the database takes to answer the smallest query, in milliseconds."""
        start = self._clock.monotonic()
        with self.read() as session:
            session.execute(text("SELECT 1"))
        return (self._clock.monotonic() - start) * 1000

    def without_foreign_keys(self) -> Store:
        """Another way to the same database, to be closed; only SQLite can leave its references unchecked."""
        return Store(self.url, self._clock, foreign_keys=False)

    def close(self) -> None:
        self.engine.dispose()


def _postgres_engine(url: URL) -> Engine:
    """With connections that are looked at before they are used again: a restarted server is no error of the next call."""
    timeouts = {name: value for name, value in POSTGRES_TIMEOUTS.items() if name not in url.query}
    return create_engine(url, connect_args=timeouts, pool_pre_ping=True, pool_size=10, max_overflow=20, pool_timeout=POOL_TIMEOUT_S)


def _sqlite_engine(url: URL, foreign_keys: bool) -> Engine:
    database = url.database
    if database and not database.startswith((":memory:", "file:")):  # `file:` is SQLite's own form of an address
        Path(database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"check_same_thread": False}, json_deserializer=read_json)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        checked = f"foreign_keys={'ON' if foreign_keys else 'OFF'}"
        for pragma in ("journal_mode=WAL", f"busy_timeout={SQLITE_BUSY_TIMEOUT_MS}", checked, "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("fleetmark_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _is_transient(error: DBAPIError) -> bool:
    if getattr(error.orig, "sqlstate", None) in TRANSIENT_SQLSTATES:
        return True
    return "database is locked" in str(error.orig)


@contextmanager
def _as_unavailable() -> Iterator[None]:
    try:
        yield
    except PoolTimeout as error:
        raise Unavailable("the database has no free connection; try again in a moment") from error
    except DBAPIError as error:
        if not _is_away(error):
            raise
        if _has_other_tables(error):
            raise Unavailable(f"the database is not at this version's revision ({_reason(error)}): {MIGRATE}") from error
        if _is_full(error):
            raise Unavailable(f"the database's disk is full ({_reason(error)}): free some space there, then try again") from error
        if getattr(error.orig, "sqlstate", None) == FORBIDDEN:
            raise Unavailable(f"the database refuses our user ({_reason(error)}): grant it every right on Fleetmark's tables") from error
        raise Unavailable(f"the database does not answer: {_reason(error)}; try again in a moment") from error


def _is_away(error: DBAPIError) -> bool:
    """Whether the database, and not what was asked of it, is what is wrong."""
    state = getattr(error.orig, "sqlstate", None)
    if error.connection_invalidated or state in (READ_ONLY, FORBIDDEN) or _has_other_tables(error):
        return True
    return isinstance(error, OperationalError) and not _is_of_the_statement(error)


def _is_of_the_statement(error: OperationalError) -> bool:
    """Whether the same statement would fail again however well the database is: to wait for it would be to wait for ever."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return bool(code & 0xFF == sqlite3.SQLITE_ERROR)  # trouble with the file, its lock or its disk has codes of its own
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return str(state).startswith(LIMITS)
    # The server was not asked: the connection could not be made (without a statement), was lost (invalidated), or the client
    # library would not send this, as with more than 65 535 parameters.
    return error.statement is not None and not error.connection_invalidated


def _is_full(error: DBAPIError) -> bool:
    return getattr(error.orig, "sqlstate", None) == DISK_FULL or str(error.orig) == "database or disk is full"


def _has_other_tables(error: DBAPIError) -> bool:
    state = getattr(error.orig, "sqlstate", None)
    said = str(error.orig)
    return state in UNDEFINED_SQLSTATES or said.startswith(("no such table", "no such column")) or " has no column named " in said


def _reason(error: DBAPIError) -> str:
    return str(error.orig).partition("\n")[0]
