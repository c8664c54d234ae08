"""Tests that the health call reports a database that answers but takes no writes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text
from sqlmodel import Session

from orchestrator.operations.context import Context
from orchestrator.store import Store
from shared.clock import SystemClock
from tests.integration.api.conftest import serving
from tests.servers import PostgresServer

ContextOf = Callable[[str], Context]


def expect_degraded(ctx: Context, words: str) -> None:
    with serving(ctx) as api:
        answer = api.get("/api/health")
    body = answer.json()
    assert (answer.status_code, body["status"], body["database"]["connected"]) == (503, "degraded", True)
    [problem] = body["database"]["problems"]
    assert problem.startswith("the database takes no writes: ")
    assert words in problem
    assert ".db" not in problem, "everybody may ask, so the answer names no file"


def test_a_database_that_takes_writes_has_no_problem(api: httpx.Client) -> None:
    assert api.get("/api/health").json()["database"]["problems"] == []


def test_a_read_only_file_is_degraded(migrated_sqlite: Path, ctx_of: ContextOf, tmp_path: Path) -> None:
    file = tmp_path / "fleetmark.db"
    shutil.copyfile(migrated_sqlite, file)
    expect_degraded(ctx_of(f"sqlite:///file:{file}?mode=ro&uri=true"), "attempt to write a readonly database")


def test_a_disk_with_too_little_room_is_degraded(ctx: Context, database_kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if database_kind != "sqlite":
        return
    free = shutil.disk_usage(ctx.settings.outputs_dir.parent).free
    monkeypatch.setattr("orchestrator.store.database.SQLITE_MIN_FREE_BYTES", 2 * free)
    expect_degraded(ctx, "its disk is full")


def test_a_read_only_server_is_degraded(migrated_postgres: str, postgres_server: PostgresServer, ctx_of: ContextOf) -> None:
    url = postgres_server.create_database("only_read", migrated_postgres)
    owner = Store(url)
    owner.transact(lambda session: session.execute(text("ALTER DATABASE only_read SET default_transaction_read_only = on")))
    owner.close()
    expect_degraded(ctx_of(url), "its transactions are read-only")


def test_a_busy_database_is_healthy_and_nobody_waits_for_it(ctx: Context, database_kind: str) -> None:
    if database_kind != "sqlite":
        return
    clock = SystemClock()
    other = Store(ctx.settings.database_url)

    def work(session: Session) -> None:
        session.execute(text("SELECT 1"))  # the transaction begins with this statement, and holds the lock
        began = clock.monotonic()
        assert ctx.store.write_trouble() is None
        assert clock.monotonic() - began < 1

    other.transact(work)
    other.close()
