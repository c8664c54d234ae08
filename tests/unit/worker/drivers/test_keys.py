"""Tests what is said when a service refuses a key or a password, or needs something else of the recipe."""

from __future__ import annotations

import asyncio
import socket

import asyncpg
import pytest
import redis

from shared.errors import EngineUnavailable
from tests.one_lane import disconnected
from tests.servers import RedisServer, server_folder
from worker.drivers import http_address
from worker.drivers.base import Work
from worker.drivers.http_address import HttpAddress
from worker.drivers.keys import about_key
from worker.drivers.postgres import PostgresDriver
from worker.drivers.redis import RedisDriver


def test_the_variable_or_the_address_is_named() -> None:
    assert about_key("X", given=False) == "There is no key in X of the worker's environment"
    assert about_key("X", given=True, in_address=True) == "The key in X of the worker's environment is not the right one"
    assert about_key("X", given=False, in_address=True, what="password") == "The password in `service.address` is not the right one"


def test_a_redis_with_a_password_and_too_little_memory_says_what_to_change() -> None:
    variable = "FLEETMARK_WORKER_REDIS_PASSWORD"
    with server_folder() as folder:
        server = RedisServer(folder, append_only=False)
        server.start()
        try:
            with redis.Redis.from_url(server.url) as client:
                client.config_set("maxmemory", "1mb")
                client.config_set("requirepass", "right")
            with_login = server.url.replace("redis://", "redis://:wrong@")
            for address, secrets, said in (
                (server.url, {}, f"There is no password in {variable} of"),
                (server.url, {"password": "wrong"}, f"The password in {variable} of the worker's environment is not the right one"),
                (with_login, {}, "The password in `service.address` is not the right one"),
                (server.url, {"password": "right"}, "write a larger `maxmemory`, or fewer `num_keys`"),
            ):
                driver = RedisDriver(Work(address, {"num_keys": 3_000, "value_size_bytes": 2_000}, secrets=secrets))
                with pytest.raises(EngineUnavailable, match="refuses") as raised:
                    asyncio.run(_prepared(driver, server.port))
                assert said in str(raised.value)
                assert "wrong@" not in str(raised.value)
        finally:
            server.stop()


async def _prepared(driver: RedisDriver, port: int) -> None:
    try:
        await driver.prepare()
    finally:
        await disconnected(port)


def test_a_postgres_that_refuses_the_password_says_where_it_is_read_from(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(**_where: object) -> None:
        raise asyncpg.InvalidPasswordError('password authentication failed for user "me"')

    monkeypatch.setattr(asyncpg, "connect", refuse)
    with pytest.raises(ConnectionError, match=r'for user "me". There is no password in FLEETMARK_WORKER_POSTGRES_PASSWORD of'):
        asyncio.run(PostgresDriver(Work("postgresql://me@127.0.0.1/db", {})).connect())


def test_a_server_that_waits_for_more_than_the_beginning_of_tls_is_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_address, "HANDSHAKE_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = HttpAddress.of(f"https://127.0.0.1:{silent.getsockname()[1]}/")
        with pytest.raises(ConnectionError, match=r"has not answered in TLS within 0.1 s; if the service has no TLS, write http://"):
            asyncio.run(address.connect(asyncio.Protocol))
