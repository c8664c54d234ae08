"""What is configured wrongly is said at the door."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from orchestrator.settings import Settings


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_way_to_write_postgresql_means_the_driver_that_is_installed(scheme: str) -> None:
    assert Settings(database_url=f"{scheme}://user:p%40ss@host:5432/name").database_url == "postgresql+psycopg://user:p%40ss@host:5432/name"


@pytest.mark.parametrize("url", ["mysql://host/name", "fleetmark.db", "sqlite3:///x"])
def test_a_database_that_is_not_known_is_refused_with_the_known_ones(url: str) -> None:
    with pytest.raises(ValidationError, match=r"must begin with sqlite:/// or postgresql://"):
        Settings(database_url=url)


@pytest.mark.parametrize("url", ["localhost:6379", "http://localhost:6379", "amqp://host"])
def test_a_broker_that_is_not_redis_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match=r"must begin with redis://"):
        Settings(redis_url=url)
