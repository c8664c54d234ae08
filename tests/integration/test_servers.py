"""Tests the real servers that other tests use."""

from __future__ import annotations

import pytest
import redis
from sqlalchemy import create_engine, text

pytestmark = pytest.mark.both_databases


def test_redis_is_a_real_server(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.info("server")["process_id"] > 0


def test_the_database_answers(database_url: str) -> None:
    engine = create_engine(database_url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
    engine.dispose()
