"""Fixtures every room shares: real servers, one of each a session; a clean database and a clean Redis a test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import redis

from tests.servers import PostgresServer, RedisServer, server_folder

_numbers = itertools.count(1)
hypothesis.settings.register_profile("long", print_blob=True)  # --hypothesis-profile=long: more runs, another seed each time


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with server_folder() as folder:
        server = RedisServer(folder)
        server.start()
        yield server
        server.stop()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """URL of a real, empty Redis."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with server_folder() as folder:
        server = PostgresServer(folder)
        server.start()
        yield server
        server.stop()


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a new, empty database: the whole integration suite runs on both."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'fleetmark.db'}"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.create_database(f"test_{next(_numbers)}")
