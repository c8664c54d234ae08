"""Fixtures every room shares: real servers, one of each a session; a clean database and a clean Redis a test."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest
import redis

from tests.alone import Room
from tests.servers import PostgresServer, RedisServer, server_folder

_numbers = itertools.count(1)
hypothesis.settings.register_profile("long", print_blob=True)  # --hypothesis-profile=long: more runs, another seed each time
_room = pytest.StashKey[Room]()


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):  # one of several processes; each has its temporary folder in the one of their run
        config.stash[_room] = Room(Path(config.option.basetemp).parent)


def pytest_unconfigure(config: pytest.Config) -> None:
    if room := config.stash.get(_room, None):
        room.close()


@pytest.hookimpl(wrapper=True, tryfirst=True)  # around pytest-timeout: its clock does not run while a test waits here
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    room = item.config.stash.get(_room, None)
    if room is None:
        return (yield)
    alone, next_alone = (one is not None and one.get_closest_marker("alone") is not None for one in (item, nextitem))
    room.enter(alone=alone)
    try:
        return (yield)
    finally:
        if not (alone and next_alone):  # else both are one stay, and the others are waited for once
            room.leave()


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


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A server that a test may stop."""
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
