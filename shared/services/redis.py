"""Describes Redis and servers that speak its protocol, such as Valkey."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from shared.figures import FigureKind
from shared.services.base import MAX_REQUESTS, PORT, ClientSettings, Phase, ServiceSettings, mix_of, one_phase

OPERATIONS = ("get", "set")


def _mix(text: str) -> str:
    mix_of(text, OPERATIONS)
    return text


class RedisSettings(ServiceSettings):
    port: int | None = PORT
    appendonly: bool = Field(default=False, description="whether each change is written to a log on the disk")
    save: str = Field(default="", max_length=200, description="when snapshots are written, such as `900 1`; empty means never")
    maxmemory: str = Field(
        default="", pattern=r"^(\d+([kmg]b?)?)?$", description="the largest memory of the data, such as `4gb`; empty means no limit"
    )
    maxmemory_policy: Literal[
        "noeviction", "allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"
    ] = Field(default="noeviction", description="what the server removes when the memory is full")
    io_threads: int = Field(default=1, ge=1, le=128, description="how many threads of the server read and write connections")


class RedisClient(ClientSettings):
    num_requests: int = Field(
        default=10_000, ge=1, le=MAX_REQUESTS, description="how many requests each repeat sends, of all clients together"
    )
    key_size_bytes: int = Field(default=32, ge=8, le=4_096, description="the size of each key")
    value_size_bytes: int = Field(default=256, ge=0, le=64 * 2**20, description="the size of each value")
    num_keys: int = Field(
        default=10_000, ge=1, le=10_000_000, description="how many keys there are; all of them are set before the first measured request"
    )
    key_distribution: Literal["uniform", "zipf"] = Field(
        default="uniform", description="how often each key is asked for: all alike, or few of them much more often (Zipf, exponent 0.99)"
    )
    pipeline: int = Field(default=1, ge=1, le=10_000, description="how many commands a connection sends before it reads the answers")
    operation_mix: Annotated[str, AfterValidator(_mix), Field(max_length=100)] = Field(
        default="get:set=50:50", description="the operations and their shares"
    )
    database: int = Field(default=0, ge=0, le=65_535, description="the number of the database")


class Redis:
    """Describes the type `redis`; see `shared.services.base.ServiceKind`."""

    name = "redis"
    settings = RedisSettings
    client = RedisClient
    client_types: Mapping[str, Mapping[str, Any]] = {
        "redis": {},
        "redis_stress": {},
        "redis_benchmark": {},
        "redis_smoke": {"num_requests": 100, "num_keys": 100},
    }
    startable = True
    schemes = ("redis",)
    figures: Mapping[str, FigureKind] = {
        "ops_per_second": FigureKind("1/s", "higher", "commands per second that succeeded"),
        "bytes_per_second": FigureKind("B/s", "higher", "bytes per second that were sent and received"),
    }

    def check_path(self, path: str) -> None:
        database = path.strip("/")
        if database and not (database.isascii() and database.isdigit()):
            raise ValueError(
                f"the path of an address of Redis is the number of a database, and this one is {path!r:.100}; "
                "write it like `redis://HOST:PORT/0`, or leave the path out"
            )

    def phases(self, client: ClientSettings, count: int | None, duration_s: float | None) -> tuple[Phase, ...]:
        assert isinstance(client, RedisClient)
        return one_phase("mixed", mix_of(client.operation_mix, OPERATIONS), count or client.num_requests, duration_s)
