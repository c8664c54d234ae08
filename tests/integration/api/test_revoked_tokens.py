"""Tests that a revoked token is refused in every situation."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg
from sqlalchemy import event

from orchestrator.operations.context import Context
from orchestrator.store.schema import migrate
from tests.integration.api.conftest import serving
from tests.integration.api.test_tokens import bearer, make
from tests.servers import PostgresServer

BOUND_S = 60.0  # this only stops a test that hangs; it is not an expected duration


def ask(client: httpx.Client, token: str) -> int:
    return client.get("/api/tokens/current", headers=bearer(token)).status_code


def revoke(client: httpx.Client, made: dict[str, Any], by: dict[str, Any]) -> None:
    assert client.delete(f"/api/tokens/{made['token_id']}", headers=bearer(by["secret"])).status_code == 200


def test_a_database_that_goes_away_at_once_saves_no_revoked_token(own_postgres: PostgresServer, ctx_of: Callable[[str], Context]) -> None:
    ctx = ctx_of(own_postgres.create_database("tokens"))
    migrate(ctx.store)
    with serving(ctx) as client:
        keeper = make(client, "admin")
        thief = make(client, "admin", keeper["secret"])
        assert ask(client, thief["secret"]) == 200
        revoke(client, thief, by=keeper)
        own_postgres.stop()
        assert ask(client, thief["secret"]) == 503  # the token cannot be looked up, and no earlier check can be used in its place
        assert ask(client, keeper["secret"]) == 200


def waiting_for(server: PostgresServer) -> int:
    """Return the number of queries that wait for a lock."""
    with psycopg.connect(f"host=127.0.0.1 port={server.port} user=postgres dbname=postgres", autocommit=True) as connection:
        row = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchone()
    assert row is not None
    return int(row[0])


def test_of_many_calls_with_a_revoked_token_none_vouches_for_the_others(
    own_postgres: PostgresServer, ctx_of: Callable[[str], Context]
) -> None:
    """The first call is delayed while it looks up the token. The next call must not be let in meanwhile."""
    url = own_postgres.create_database("tokens")
    ctx = ctx_of(url)
    migrate(ctx.store)
    with serving(ctx) as client, ThreadPoolExecutor(2) as threads:
        keeper = make(client, "admin")
        thief = make(client, "viewer", keeper["secret"])
        assert ask(client, thief["secret"]) == 200
        revoke(client, thief, by=keeper)
        assert ask(client, keeper["secret"]) == 200  # from this call on, the server knows that tokens are needed
        with psycopg.connect(url.replace("postgresql+psycopg", "postgresql")) as lock:
            lock.execute("LOCK TABLE tokens")
            answers = []
            for held in (1, 2):
                answers.append(threads.submit(ask, client, thief["secret"]))
                until = time.monotonic() + BOUND_S
                while waiting_for(own_postgres) < held and not answers[-1].done():
                    assert time.monotonic() < until
                    time.sleep(0.02)
        assert [answer.result(BOUND_S) for answer in answers] == [401, 401]


def test_a_look_up_that_began_before_the_revocation_is_not_remembered_after_it(api: httpx.Client, ctx: Context) -> None:
    keeper = make(api, "admin")
    thief = make(api, "viewer", keeper["secret"])
    assert ask(api, keeper["secret"]) == 200
    has_read, may_go_on = threading.Event(), threading.Event()

    def hold(*arguments: Any) -> None:
        if "secret_hash" in arguments[2] and arguments[2].startswith("SELECT") and not has_read.is_set():
            has_read.set()
            assert may_go_on.wait(BOUND_S)

    event.listen(ctx.store.engine, "after_cursor_execute", hold)
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(ask, api, thief["secret"])
        try:
            assert has_read.wait(BOUND_S)
            revoke(api, thief, by=keeper)
        finally:
            may_go_on.set()
        answer.result(BOUND_S)  # any answer is right, because the call came before the token was revoked
    event.remove(ctx.store.engine, "after_cursor_execute", hold)
    assert ask(api, thief["secret"]) == 401
