"""Provides the fixtures for all tests: one real server of each kind per session, and a clean database and Redis for each test."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest
import redis

from orchestrator.store import Store
from orchestrator.store.schema import migrate
from tests.alone import Room
from tests.proxy_server import VARIABLES
from tests.servers import PostgresServer, RedisServer, server_folder
from worker.hardware.steering import NO_TELEMETRY

# The servers of the suite are on this machine, and its own clients would use a proxy for them. Tests of proxies set their own.
for _name in VARIABLES:
    os.environ.pop(_name, None)
    os.environ.pop(_name.lower(), None)

# ONNX Runtime connects to its maker some seconds after it is imported, and the tests import it into their own process. Such a connection
# would reach the proxy of a test. The product turns this off by itself, so `tests.e2e.processes` does not pass the variable on.
os.environ |= NO_TELEMETRY

_numbers = itertools.count(1)
# No test may fail because the machine is busy, so neither an example nor the making of examples has a time limit.
hypothesis.settings.register_profile("suite", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
# the option --hypothesis-profile=long selects it
hypothesis.settings.register_profile("long", hypothesis.settings.get_profile("suite"), print_blob=True)
hypothesis.settings.load_profile("suite")
_room = pytest.StashKey[Room]()


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):  # this is one of several processes; the temporary folder of each is in the folder of their run
        config.stash[_room] = Room(Path(config.option.basetemp).parent)


def pytest_unconfigure(config: pytest.Config) -> None:
    if room := config.stash.get(_room, None):
        room.close()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests marked `alone` to the front. Elsewhere, each of them would have to wait until all other processes are idle."""
    items.sort(key=lambda item: item.get_closest_marker("alone") is None)


@pytest.hookimpl(wrapper=True, tryfirst=True)  # this wraps pytest-timeout, whose clock does not run while a test waits here
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    room = item.config.stash.get(_room, None)
    if room is None:
        return (yield)
    alone, next_alone = (one is not None and one.get_closest_marker("alone") is not None for one in (item, nextitem))
    room.enter(alone=alone)
    try:
        return (yield)
    finally:
        if not (alone and next_alone):  # otherwise both tests are one stay, and the wait for the others happens once
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
    """Return the URL of a real, empty Redis."""
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
    """Return a PostgreSQL server that the test may stop."""
    with server_folder() as folder:
        server = PostgresServer(folder)
        server.start()
        yield server
        server.stop()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test that uses a database on SQLite. Run it on PostgreSQL too if it is marked `both_databases`, or in `make test-long`."""
    if "database_kind" in metafunc.fixturenames:
        both = metafunc.definition.get_closest_marker("both_databases") is not None
        postgres = "postgres" if both else pytest.param("postgres", marks=pytest.mark.long)
        metafunc.parametrize("database_kind", ["sqlite", postgres], indirect=True)


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    """Return `sqlite` or `postgres`."""
    kind: str = request.param
    return kind


@pytest.fixture
def database_url(request: pytest.FixtureRequest, database_kind: str, tmp_path: Path) -> str:
    """Return the URL of a new database without tables."""
    if database_kind == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.create_database(f"test_{next(_numbers)}")


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a SQLite file with our tables and no rows. Tests copy it, because a migration takes ten times as long."""
    file = tmp_path_factory.mktemp("migrated") / "template.db"
    _migrate(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def migrated_postgres(postgres_server: PostgresServer) -> str:
    """Return the name of a PostgreSQL database with our tables and no rows, which serves as a template."""
    name = "migrated_template"
    _migrate(postgres_server.create_database(name))
    return name


@pytest.fixture
def migrated_url(request: pytest.FixtureRequest, database_kind: str, tmp_path: Path) -> str:
    """Return the URL of a new database with our tables and no rows."""
    if database_kind == "sqlite":
        file = tmp_path / "fleetmark.db"
        shutil.copyfile(request.getfixturevalue("migrated_sqlite"), file)
        return f"sqlite:///{file}"
    template: str = request.getfixturevalue("migrated_postgres")
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.create_database(f"test_{next(_numbers)}", template)


def _migrate(url: str) -> None:
    store = Store(url)
    migrate(store)
    store.close()
