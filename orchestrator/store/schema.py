"""Migrates a database to a revision of the schema, and checks which revision it has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, inspect, text
from sqlmodel import SQLModel

from orchestrator.store import tables as _tables  # noqa: F401 (registers the tables)
from orchestrator.store.database import MIGRATE, Store
from shared.errors import Unavailable

MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = 7_218_001  # the key of an advisory lock (any number), so that only one process at a time migrates a PostgreSQL


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def newest() -> str:
    """Return the revision that this code is written for."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


def current(store: Store) -> str | None:
    """Return the revision that the database has, or None for an empty database."""
    with store.read() as session:
        return MigrationContext.configure(session.connection()).get_current_revision()


def migrate(store: Store, revision: str = "head") -> None:
    """Bring the database to a revision, completely or not at all. Safe to run from several processes at once.

    No downgrade keeps the rows. To go back to an earlier version, restore the backup that was made before.

    Raises:
        Unavailable: the database does not answer, or a newer version has migrated it.
    """

    def work(session: Any) -> None:
        connection = session.connection()
        if not store.is_sqlite:
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        _require_known(MigrationContext.configure(connection).get_current_revision())
        command.upgrade(_config(connection), revision)
        if store.is_sqlite and (broken := connection.exec_driver_sql("PRAGMA foreign_key_check").all()):
            raise RuntimeError(f"the migration would leave rows that refer to nothing, and was taken back: {broken[:5]}")

    if not store.is_sqlite:
        store.transact(work)
        return
    # To change a table in SQLite, Alembic makes a new table and drops the old one. With foreign keys on, SQLite would then delete the rows
    # that refer to the dropped table.
    loose = store.without_foreign_keys()
    try:
        loose.transact(work)
    finally:
        loose.close()


def _require_known(revision: str | None) -> None:
    if revision is None:
        return
    try:
        ScriptDirectory.from_config(_config()).get_revision(revision)
    except CommandError as error:
        raise Unavailable(
            f"the database is at revision {revision}, which this version does not know (its newest is {newest()}): a newer Fleetmark "
            "has migrated it; install that one again, or restore the backup that was made before"
        ) from error


def require_current(store: Store) -> None:
    """Check that the database has the revision that this code needs.

    Raises:
        Unavailable: the database has another revision. The message names the command that migrates it.
    """
    found = current(store)
    _require_known(found)
    if found != newest():
        raise Unavailable(f"the database is at revision {found}, this version needs {newest()}: {MIGRATE}")


def has_table(store: Store, name: str) -> bool:
    """Return whether the database has this table, whatever its revision."""
    with store.read() as session:
        return inspect(session.connection()).has_table(name)


def differences(store: Store) -> list[Any]:
    """Return the differences between the tables in the code and in the database. The list is empty if they are equal."""
    with store.read() as session:
        return list(compare_metadata(MigrationContext.configure(session.connection(), opts={"compare_type": True}), SQLModel.metadata))
