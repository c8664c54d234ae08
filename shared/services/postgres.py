"""Describes PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from shared.figures import FigureKind
from shared.services.base import DATA_FOLDER, MAX_REQUESTS, PORT, ClientSettings, Phase, ServiceSettings
from shared.strict import Strict

NAME = r"^[a-z_][a-z0-9_]{0,62}$"
MEMORY = r"^\d+(kB|MB|GB)$"


class Tuning(Strict):
    shared_buffers: str = Field(default="128MB", pattern=MEMORY, description="the memory for pages of the database")
    effective_cache_size: str = Field(default="512MB", pattern=MEMORY, description="the cache that the planner assumes")
    maintenance_work_mem: str | None = Field(
        default=None,
        pattern=MEMORY,
        description="the memory for making indexes and for vacuum; if it is left out, the server's own default",
    )
    work_mem: str | None = Field(
        default=None, pattern=MEMORY, description="the memory for sorting, of each query; if it is left out, the server's own default"
    )
    max_connections: int | None = Field(
        default=None, ge=1, le=10_000, description="how many connections the server accepts; if it is left out, as many as the clients need"
    )
    synchronous_commit: bool = Field(default=True, description="whether an insert waits until it is on the disk")


class PostgresSettings(ServiceSettings):
    port: int | None = PORT
    db_name: str = Field(default="benchmark", pattern=NAME, description="the database that is made")
    data_dir: str = DATA_FOLDER
    auth: Literal["trust"] = Field(default="trust", description="how clients log in; the server listens on 127.0.0.1 only")
    tuning: Tuning = Tuning()


class PostgresClient(ClientSettings):
    db_name: str = Field(default="benchmark", pattern=NAME, description="the database that the clients use")
    num_inserts: int = Field(
        default=10_000, ge=0, le=MAX_REQUESTS, description="how many rows each repeat inserts, of all clients together"
    )
    num_selects: int = Field(
        default=5_000, ge=0, le=MAX_REQUESTS, description="how many rows each repeat reads by their key, of all clients together"
    )
    num_rows: int = Field(
        default=10_000,
        ge=1,
        le=10_000_000,
        description="how many rows the table has before the first measured request; reads ask for these",
    )
    table_name: str = Field(
        default="stress_test", pattern=NAME, description="the table; a repeat makes it, and refuses one that is there already"
    )
    user: str = Field(default="postgres", pattern=NAME, description="the user as whom the clients log in")


class Postgres:
    """Describes the type `postgres`; see `shared.services.base.ServiceKind`."""

    name = "postgres"
    settings = PostgresSettings
    client = PostgresClient
    client_types: Mapping[str, Mapping[str, Any]] = {
        "postgres": {},
        "postgres_stress": {},
        "postgres_smoke": {"num_inserts": 100, "num_selects": 100, "num_rows": 100},
    }
    startable = True
    schemes = ("postgresql", "postgres")
    figures: Mapping[str, FigureKind] = {
        "insert_tps": FigureKind("1/s", "higher", "inserts per second, each a transaction of its own"),
        "select_qps": FigureKind("1/s", "higher", "reads of one row by its key, per second"),
        "insert_duration": FigureKind("s", "lower", "how long the inserts took"),
        "select_duration": FigureKind("s", "lower", "how long the reads took"),
        "total_duration": FigureKind("s", "lower", "how long inserts and reads took together"),
    }

    def phases(self, client: ClientSettings, count: int | None, duration_s: float | None) -> tuple[Phase, ...]:
        assert isinstance(client, PostgresClient)
        asked = {"insert": client.num_inserts, "select": client.num_selects}
        total = sum(asked.values())
        if not total:
            raise ValueError("`num_inserts` and `num_selects` are both 0, so nothing would be measured; set one of them")
        made = []
        for name, number in asked.items():
            if number and duration_s is not None:
                made.append(Phase(name=name, operations={name: 1.0}, duration_s=duration_s * number / total))
            elif number:
                requests = number if count is None else max(1, round(count * number / total))
                made.append(Phase(name=name, operations={name: 1.0}, count=requests))
        return tuple(made)
