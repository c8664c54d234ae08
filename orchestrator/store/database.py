"""Opens connections and runs transactions.

SQLite writers begin with `BEGIN IMMEDIATE`. Otherwise a transaction that reads first and writes later could fail at once, whatever the
busy timeout.
"""

from __future__ import annotations

import os
import random
import re
import shutil
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
READ_ONLY = "25006"  # read-only transaction: a standby, or a failover in progress
DISK_FULL = "53100"
FORBIDDEN = "42501"  # insufficient privilege
LIMITS = "54"  # the class of program limits: PostgreSQL can never run this statement
MIGRATE = "run `python -m orchestrator.cli migrate`"
MAX_TRIES = 5
SQLITE_BUSY_TIMEOUT_MS = 15_000  # how long a writer waits for another one, all tries of a transaction together
SQLITE_MIN_FREE_BYTES = 1 << 20  # with less room than this, the next transactions would fail
POOL_TIMEOUT_S = 10.0
# These are parameters of libpq. An unreachable server is given up after about as long as Redis is, instead of after the kernel's 15
# minutes.
POSTGRES_TIMEOUTS = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}


class Store:
    """Gives access to the database. Each process has one store; threads can share it."""

    def __init__(self, url: str | URL, clock: Clock | None = None, *, foreign_keys: bool = True) -> None:
        """Make an engine for this address. No connection is opened yet.

        Args:
            foreign_keys: False turns off SQLite's check of references, for migrations.
        """
        self.url = make_url(url)
        self._clock = clock or SystemClock()
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = _sqlite_engine(self.url, foreign_keys) if self.is_sqlite else _postgres_engine(self.url)
        self._writing = self.engine.execution_options(fleetmark_write=True)
        # PostgreSQL takes one snapshot per statement anyway. Without BEGIN and ROLLBACK a read saves two round trips.
        self._reading = self.engine if self.is_sqlite else self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session that only reads.

        Raises:
            Unavailable: the database does not answer.
        """
        with _as_unavailable(), Session(self._reading) as session:
            yield session

    def transact(self, work: Callable[[Session], T]) -> T:
        """Run `work` in one transaction, commit it, and return its result. Retry after deadlocks, serialization failures and locks.

        A lock of SQLite that was waited for in vain is not tried again: SQLite itself waits for `SQLITE_BUSY_TIMEOUT_MS`.

        `work` may run more than once, so it must do nothing but read and write through its session.

        Raises:
            Unavailable: the database does not answer.
        """
        with _as_unavailable():
            for tries in range(1, MAX_TRIES + 1):
                began = self._clock.monotonic()
                try:
                    with Session(self._writing, expire_on_commit=False) as session, session.begin():
                        return work(session)
                except OperationalError as error:
                    waited_s = self._clock.monotonic() - began
                    if tries == MAX_TRIES or not _is_transient(error) or (self.is_sqlite and waited_s >= SQLITE_BUSY_TIMEOUT_MS / 2000):
                        raise
                    self._clock.sleep(random.uniform(0.01, 0.05) * 2**tries)  # noqa: S311 (jitter, not a secret)
            raise AssertionError("unreachable: the last try returns or raises")

    def ping_ms(self) -> float:
        """Return how long the database takes to answer the smallest query, in milliseconds."""
        start = self._clock.monotonic()
        with self.read() as session:
            session.execute(text("SELECT 1"))
        return (self._clock.monotonic() - start) * 1000

    def write_trouble(self) -> str | None:
        """Return why the database takes no writes, or None if it takes them. It waits for no lock and leaves nothing in the database.

        The text names no file, because `GET /api/health` shows it to everybody. On PostgreSQL it is not known how full the server's disk
        is: that shows at the next write.

        Raises:
            Unavailable: the database does not answer.
        """
        return self._sqlite_trouble() if self.is_sqlite else self._postgres_trouble()

    def _sqlite_trouble(self) -> str | None:
        with _as_unavailable(), self.engine.connect() as connection:
            driver: Any = connection.connection.dbapi_connection
            cursor = driver.cursor()
            try:
                [(_, _, file)] = cursor.execute("PRAGMA database_list")
                cursor.execute("PRAGMA busy_timeout=0")
                cursor.execute("BEGIN IMMEDIATE")
                [(number,)] = cursor.execute("PRAGMA user_version")
                cursor.execute(f"PRAGMA user_version={number}")  # BEGIN IMMEDIATE alone succeeds on a read-only file
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:  # if it is busy, another process writes
                    return f"{error}: make the file in FLEETMARK_DATABASE_URL writable for the orchestrator"
            finally:
                if driver.in_transaction:
                    cursor.execute("ROLLBACK")
                cursor.execute(f"PRAGMA busy_timeout={SQLITE_BUSY_TIMEOUT_MS}")
                cursor.close()
        if not os.access(file, os.W_OK):
            return "its file cannot be written: mount its file system for writing, and make the file writable for the orchestrator"
        free = shutil.disk_usage(file).free
        return f"its disk is full ({free} bytes are free): free some space there" if free < SQLITE_MIN_FREE_BYTES else None

    def _postgres_trouble(self) -> str | None:
        with self.read() as session:
            standby, read_only = session.execute(text("SELECT pg_is_in_recovery(), current_setting('transaction_read_only')")).one()
        if standby:
            return "the server is a standby: name the primary in FLEETMARK_DATABASE_URL"
        return "its transactions are read-only: set default_transaction_read_only to off" if read_only == "on" else None

    def without_foreign_keys(self) -> Store:
        """Return a second store for the same SQLite database that does not check references. The caller must close it."""
        return Store(self.url, self._clock, foreign_keys=False)

    def close(self) -> None:
        self.engine.dispose()


def _postgres_engine(url: URL) -> Engine:
    """Return an engine that tests a pooled connection before use, so that a restarted server does not fail the next call."""
    timeouts = {name: value for name, value in POSTGRES_TIMEOUTS.items() if name not in url.query}
    return create_engine(url, connect_args=timeouts, pool_pre_ping=True, pool_size=10, max_overflow=20, pool_timeout=POOL_TIMEOUT_S)


def _sqlite_engine(url: URL, foreign_keys: bool) -> Engine:
    database = url.database
    if database and not database.startswith((":memory:", "file:")):  # `file:` is SQLite's own form of an address
        Path(database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"check_same_thread": False}, json_deserializer=read_json)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # `_begin` starts transactions, not the driver
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


# PostgreSQL says these to a connection that a wrong address makes. psycopg gives such an error no code.
_REFUSED = re.compile(
    r'authentication failed|no password supplied|no pg_hba\.conf entry|(?:database|role|file) ".*" does not exist|not permitted to log in'
    r"|permission denied for database|does not support SSL|certificate verify failed"
)


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
        advice = "correct FLEETMARK_DATABASE_URL" if _REFUSED.search(str(error.orig)) else "try again in a moment"
        raise Unavailable(f"the database does not answer: {_reason(error)}; {advice}") from error


def _is_away(error: DBAPIError) -> bool:
    """Return whether the error comes from the state of the database, and not from the statement."""
    state = getattr(error.orig, "sqlstate", None)
    if error.connection_invalidated or state in (READ_ONLY, FORBIDDEN) or _has_other_tables(error):
        return True
    return isinstance(error, OperationalError) and not _is_of_the_statement(error)


def _is_of_the_statement(error: OperationalError) -> bool:
    """Return whether the statement would fail on a healthy database too, so that retrying it later is useless."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return bool(code & 0xFF == sqlite3.SQLITE_ERROR)  # problems with the file, its lock or its disk have other codes
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return str(state).startswith(LIMITS)
    # There is no code, so the server did not answer. Either the connection failed (then there is no statement), or it was lost (then it is
    # invalidated), or the client library refused the statement, for example because of more than 65 535 parameters.
    return error.statement is not None and not error.connection_invalidated


def _is_full(error: DBAPIError) -> bool:
    return getattr(error.orig, "sqlstate", None) == DISK_FULL or str(error.orig) == "database or disk is full"


def _has_other_tables(error: DBAPIError) -> bool:
    state = getattr(error.orig, "sqlstate", None)
    said = str(error.orig)
    return state in UNDEFINED_SQLSTATES or said.startswith(("no such table", "no such column")) or " has no column named " in said


def _reason(error: DBAPIError) -> str:
    return str(error.orig).partition("\n")[0]
