from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import redis

from tests.fuzz.budget import EXAMPLES, SUITE_EXAMPLES
from tests.fuzz.serving import Served, serving
from tests.servers import RedisServer

# only `make fuzz` uses the second one, to save time in the suite
DATABASES = ["sqlite"] if EXAMPLES == SUITE_EXAMPLES else ["sqlite", "postgres"]
_numbers = itertools.count(1)


@pytest.fixture(scope="module", params=DATABASES)
def served(request: pytest.FixtureRequest, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Run a separate server for each file of tests."""
    folder = tmp_path_factory.mktemp("served")
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    database_url = f"sqlite:///{folder / 'fleetmark.db'}"
    if request.param == "postgres":
        database_url = request.getfixturevalue("postgres_server").create_database(f"fuzz_{next(_numbers)}")
    with serving(folder, redis_server.url, database_url) as running:
        yield running
