"""Checks a database of the user before it is used. The command line does not import the store, which takes seconds to import."""

from __future__ import annotations

import math
import os
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from cli.errors import Unreachable
from shared.errors import InvalidInput
from shared.masking import masked
from shared.readiness import CONNECT_S, require_writable

VARIABLE = "FLEETMARK_DATABASE_URL"


def require_database(url: str) -> None:
    """Check that a database answers and accepts the login in its address. Addresses of another form are left to the orchestrator.

    Raises:
        InvalidInput: the file of a SQLite database cannot be used.
        Unreachable: a PostgreSQL server does not answer, or refuses the login, or has no such database.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite" and rest.startswith("/"):
        _require_sqlite(Path(unquote(rest[1:].partition("?")[0])))
    elif scheme in ("postgres", "postgresql", "postgresql+psycopg"):
        _require_postgres(f"postgresql://{rest}")


def _require_sqlite(file: Path) -> None:
    require_writable(file.parent, VARIABLE)
    if not file.exists():
        return
    if not os.access(file, os.W_OK):
        raise InvalidInput(f"{file} cannot be written; make it writable, or correct {VARIABLE}")
    import sqlite3  # imported here, as few commands need it

    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True, timeout=0)) as connection:
            connection.execute("PRAGMA schema_version").fetchone()
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY:  # another process may be writing
            raise InvalidInput(f"{file} cannot be used as a SQLite database: {error}; correct {VARIABLE}") from error


def _require_postgres(url: str) -> None:
    try:
        import psycopg  # imported here because it is slow to import and few commands need it
    except ImportError:
        return  # the orchestrator is not installed; its start says so
    place = shown_database(url)
    try:
        psycopg.connect(url, connect_timeout=math.ceil(CONNECT_S)).close()
    except psycopg.Error as error:
        said = masked(" ".join(str(error).split()))
        raise Unreachable(f"the database {place} cannot be used: {said}; start it, or correct {VARIABLE}") from error


def shown_database(url: str) -> str:
    """Return host, port and name of a PostgreSQL database as text for people, without the login: `lab:5432/fleetmark`."""
    parts = urlsplit(url)
    host = parts.hostname or "localhost"
    return f"{f'[{host}]' if ':' in host else host}:{parts.port or 5432}{parts.path}"
