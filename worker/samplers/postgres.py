"""Samples what PostgreSQL tells of one database (`pg_stat_database`, `pg_stat_activity`), once a second.

PostgreSQL's processes write their counters at most once a second, so a counter may be up to a second behind.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

from worker.drivers.registry import credentials
from worker.samplers.base import Lack, Place
from worker.samplers.polled import TIMEOUT_S, NoAnswer, PolledService, lack_of

SERVICE = "postgres"
# The sampler's own connection is left out of what it counts.
ASKED = """
SELECT xact_commit, xact_rollback, blks_read, blks_hit, tup_returned, tup_fetched, tup_inserted, tup_updated, tup_deleted,
       temp_bytes, deadlocks, clients.connections, clients.active, clients.waiting_for_locks
FROM pg_stat_database,
     (SELECT count(*) AS connections, count(*) FILTER (WHERE state = 'active') AS active,
             count(*) FILTER (WHERE wait_event_type = 'Lock') AS waiting_for_locks
      FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()) AS clients
WHERE datname = current_database()
"""


def lack(place: Place) -> Lack | None:
    return lack_of(PostgresStatistics(place))


class PostgresStatistics(PolledService):
    source = SERVICE
    units: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("xact_commit", "xact_rollback", "blks_read", "blks_hit", "tup_returned", "tup_fetched", "tup_inserted"), "count"),
        **dict.fromkeys(("tup_updated", "tup_deleted", "deadlocks", "connections", "active", "waiting_for_locks"), "count"),
        "temp_bytes": "B",
    }

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: Any = None

    def ask(self) -> Mapping[str, float]:
        import asyncpg  # imported where there is a PostgreSQL: this takes 50 ms of CPU time, beside a measurement

        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        try:
            row = self._loop.run_until_complete(self._ask(asyncpg.connect))
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise NoAnswer(f"PostgreSQL at {self._where['host']}:{self._where['port']} does not answer: {error or 'in time'}") from error
        return {name: float(value) for name, value in row.items() if value is not None}

    async def _ask(self, connect: Any) -> Mapping[str, Any]:
        if self._connection is None:
            names = {"application_name": "fleetmark telemetry"}
            self._connection = await connect(**self._where, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S, server_settings=names)
        return dict(await self._connection.fetchrow(ASKED))

    @property
    def _where(self) -> dict[str, Any]:
        parts, settings = urlsplit(self.place.service_address), self.place.service_settings
        return {
            "host": parts.hostname or "127.0.0.1",
            "port": parts.port or 5432,
            "database": unquote(parts.path.strip("/")) or settings.get("db_name") or "postgres",
            "user": unquote(parts.username or "") or settings.get("user") or "postgres",
            "password": credentials(SERVICE, os.environ).get("password") or unquote(parts.password or "") or None,  # noqa: TID251 - it is there
        }

    def hang_up(self) -> None:
        connection, self._connection = self._connection, None
        loop, self._loop = self._loop, None
        if connection is not None:
            connection.terminate()
        if loop is not None:
            loop.run_until_complete(asyncio.sleep(0))  # so that the transport is closed
            loop.close()
