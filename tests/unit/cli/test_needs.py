"""Tests that `fleetmark up` says what is missing before it starts anything."""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cli.databases import require_database, shown_database
from cli.embedded import Plan, Stack, problems_of, running_stack
from cli.errors import PartFailed, Unreachable
from shared.clock import FakeClock
from shared.errors import FleetmarkError, InvalidInput
from tests.integration.conftest import NOON
from tests.servers import PostgresServer, free_port


@pytest.fixture
def silent() -> Iterator[int]:
    """Yield the port of a server that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        yield listener.getsockname()[1]


def needs(tmp_path: Path, **more: object) -> None:
    # the settings are passed on unchanged
    plan = Plan(data_dir=tmp_path / "data", outputs_dir=tmp_path / "outputs", **more)  # type: ignore[arg-type]
    with running_stack(plan) as stack:
        stack.check_needs()
        assert stack.parts == []


def test_nothing_is_missing_on_a_machine_of_its_own(tmp_path: Path) -> None:
    needs(tmp_path)
    assert (tmp_path / "outputs").is_dir()


@pytest.mark.parametrize("what", ["redis_url", "database_url"])
def test_a_server_that_never_answers_is_told_in_time(tmp_path: Path, silent: int, what: str) -> None:
    scheme = "redis" if what == "redis_url" else "postgresql"
    with pytest.raises(Unreachable, match=f"127.0.0.1:{silent}") as told:
        needs(tmp_path, **{what: f"{scheme}://me:secret@127.0.0.1:{silent}/0"})
    assert "secret" not in told.value.detail


def test_everything_that_is_missing_is_told_at_once(tmp_path: Path, silent: int) -> None:
    (tmp_path / "outputs").touch()
    closed = free_port()
    with pytest.raises(FleetmarkError) as told:
        needs(tmp_path, port=silent, redis_url=f"redis://127.0.0.1:{closed}/0", database_url=f"postgresql://127.0.0.1:{closed}/fleet")
    for part in (
        "FLEETMARK_OUTPUTS_DIR",
        f"port {silent} on 127.0.0.1",
        f"no Redis answers at 127.0.0.1:{closed}",
        "FLEETMARK_DATABASE_URL",
    ):
        assert part in told.value.detail


def test_the_port_of_redis_is_looked_at_too(tmp_path: Path, silent: int) -> None:
    with pytest.raises(PartFailed, match="--redis-port"):
        needs(tmp_path, redis_port=silent)


def test_a_server_of_postgresql_is_asked_for_the_very_database(postgres_server: PostgresServer) -> None:
    url = postgres_server.create_database("asked_for")
    require_database(url)
    absent = url.replace("asked_for", "not_there")
    with pytest.raises(Unreachable, match=r'database "not_there" does not exist.*correct FLEETMARK_DATABASE_URL'):
        require_database(absent)


def test_a_file_that_is_no_sqlite_database_is_refused(tmp_path: Path) -> None:
    require_database(f"sqlite:///{tmp_path / 'new' / 'fleet.db'}")
    good, bad = tmp_path / "what %3F.db", tmp_path / "bad.db"
    with closing(sqlite3.connect(tmp_path / "what ?.db")) as connection:
        connection.execute("CREATE TABLE t (x)")
    require_database(f"sqlite:///{good}?timeout=5")
    bad.write_bytes(b"this is a text, and longer than the header of a database " * 10)
    with pytest.raises(InvalidInput, match=r"bad\.db cannot be used as a SQLite database"):
        require_database(f"sqlite:///{bad}")


def test_an_address_is_shown_without_its_login() -> None:
    assert shown_database("postgresql://me:secret@[fd00::7]/fleet") == "[fd00::7]:5432/fleet"


def test_an_orchestrator_that_stays_degraded_says_why_and_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    health = {"status": "degraded", "redis": {"connected": True, "problems": []}, "database": {"connected": False, "problems": []}}
    clock = FakeClock(NOON)
    stack = Stack(Plan(data_dir=tmp_path / "data", outputs_dir=tmp_path / "outputs"), clock)
    monkeypatch.setattr("cli.client.Client.health", lambda _self: health)
    stack._orchestrator = stack._launch("orchestrator", ["sleep", "60"])
    try:
        with pytest.raises(PartFailed, match="orchestrator cannot work: its database does not answer"):
            stack.wait_for_orchestrator()
    finally:
        stack.stop()
    assert clock.monotonic() < 10
    health["redis"] = {"connected": True, "problems": ["Redis may evict keys: set maxmemory-policy"]}
    assert problems_of(health) == "its database does not answer; Redis may evict keys: set maxmemory-policy"
