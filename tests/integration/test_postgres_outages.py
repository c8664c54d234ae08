"""Tests PostgreSQL when it restarts, is killed, or has no free connections or disk space, and conflicting transactions."""

from __future__ import annotations

import dataclasses
import itertools
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlmodel import Session

from orchestrator.store import Store
from orchestrator.store.database import MAX_TRIES
from orchestrator.store.schema import migrate
from shared.errors import Unavailable
from tests.integration.api.conftest import serving
from tests.integration.api.test_outages import CAMPAIGN, eventually, is_unavailable, plane
from tests.servers import PostgresServer, server_folder
from tests.small_disk import SmallDisk, small_disk

_numbers = itertools.count(1)


@dataclasses.dataclass
class Place:
    server: PostgresServer
    disk: SmallDisk

    def admin(self, statement: str) -> None:
        with psycopg.connect(f"host=127.0.0.1 port={self.server.port} user=postgres dbname=postgres", autocommit=True) as connection:
            connection.execute(statement.encode())

    def fill_log(self) -> None:
        for _ in range(200):
            self.admin("SELECT pg_logical_emit_message(true, 'fill', repeat('x', 500000))")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Yield a PostgreSQL that a test may stop, on a disk that a test may fill."""
    with ExitStack() as stack:
        folder = stack.enter_context(server_folder())
        disk = stack.enter_context(small_disk(folder / "disk", 128))
        server = PostgresServer(folder, disk.path / "data", initdb_options=("--wal-segsize=1",))
        server.start()
        stack.callback(lambda: server.stop())
        yield Place(server, disk)


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    made = Store(place.server.create_database(f"outages_{next(_numbers)}"))

    def tables(session: Session) -> None:
        session.execute(text("CREATE TABLE pairs (id INTEGER PRIMARY KEY, n INTEGER)"))
        session.execute(text("INSERT INTO pairs VALUES (1, 0), (2, 0)"))

    made.transact(tables)
    yield made
    made.close()


def add_one(session: Session, row: int) -> None:
    session.execute(text("UPDATE pairs SET n = n + 1 WHERE id = :row"), {"row": row})


def counted(store: Store) -> list[int]:
    with store.read() as session:
        return list(session.scalars(text("SELECT n FROM pairs ORDER BY id")))


def at_once(*works: Callable[[], None]) -> list[Exception]:
    failures: list[Exception] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def states_of(tries: list[OperationalError]) -> list[str | None]:
    return [getattr(error.orig, "sqlstate", None) for error in tries]


def test_a_deadlock_is_tried_again_and_both_transactions_count(store: Store) -> None:
    met = threading.Barrier(2)
    seen: list[OperationalError] = []
    runs = [0, 0]

    def crosswise(first: int, second: int) -> Callable[[], None]:
        def work(session: Session) -> None:
            runs[first - 1] += 1
            add_one(session, first)
            if runs[first - 1] == 1:
                met.wait(30)
            try:
                add_one(session, second)
            except OperationalError as error:
                seen.append(error)
                raise

        return lambda: store.transact(work)

    assert at_once(crosswise(1, 2), crosswise(2, 1)) == []
    assert states_of(seen) == ["40P01"]
    assert sorted(runs) == [1, 2]
    assert counted(store) == [2, 2]


def test_a_serialization_failure_is_tried_again(store: Store) -> None:
    seen: list[OperationalError] = []

    def work(session: Session) -> None:
        session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        session.execute(text("SELECT n FROM pairs WHERE id = 1"))
        if not seen:
            store.transact(lambda other: add_one(other, 1))  # another client writes first
        try:
            add_one(session, 1)
        except OperationalError as error:
            seen.append(error)
            raise

    store.transact(work)
    assert states_of(seen) == ["40001"]
    assert counted(store) == [2, 0]


def test_a_failure_that_does_not_end_is_given_up_and_says_so(store: Store) -> None:
    tries = 0

    def work(session: Session) -> None:
        nonlocal tries
        tries += 1
        session.execute(text("DO $$ BEGIN RAISE EXCEPTION 'no luck' USING ERRCODE = 'serialization_failure'; END $$"))

    with pytest.raises(Unavailable, match="no luck"):
        store.transact(work)
    assert tries == MAX_TRIES


def test_connections_that_are_killed_at_work_lose_no_transaction_and_make_no_half_one(place: Place, store: Store) -> None:
    """A transaction counts if and only if its caller got an answer.

    The exception is a commit whose answer was lost: its caller cannot know whether it counts.
    """
    answered, doubtful, done = 0, 0, threading.Event()
    begun = threading.Event()

    def both(session: Session) -> None:
        add_one(session, 1)
        begun.set()
        add_one(session, 2)

    def write() -> None:
        nonlocal answered, doubtful
        for _ in range(300):
            try:
                store.transact(both)
            except Unavailable:
                doubtful += 1
            else:
                answered += 1
        done.set()

    def kill() -> None:
        begun.wait(30)
        while not done.wait(0.02):
            place.admin(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{store.url.database}' AND pid <> pg_backend_pid()"
            )

    assert at_once(write, kill) == []
    first, second = counted(store)
    assert first == second
    assert answered <= first <= answered + doubtful
    assert doubtful > 0


def test_no_free_connection_is_said_and_not_waited_for_without_end(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.store.database.POOL_TIMEOUT_S", 0.2)
    store = Store(place.server.url())
    with ExitStack() as taken:
        for _ in range(30):
            taken.enter_context(store.engine.connect())
        with pytest.raises(Unavailable, match="no free connection"):
            store.ping_ms()
    assert store.ping_ms() > 0
    store.close()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["in order", "as after a power cut"])
def test_a_restarted_server_is_used_again_by_itself(place: Place, redis_url: str, tmp_path: Path, how: signal.Signals) -> None:
    with plane(redis_url, place.server.create_database(f"outages_{next(_numbers)}"), tmp_path) as ctx, serving(ctx) as api:
        migrate(ctx.store)
        kept = api.post("/api/campaigns", json=CAMPAIGN).json()["campaign_id"]
        place.server.stop(how)
        assert is_unavailable(api.post("/api/campaigns", json=CAMPAIGN), "database")
        place.server.start()
        assert api.post("/api/campaigns", json=CAMPAIGN).status_code == 201  # a call must not fail because of stale connections in the pool
        assert kept in [one["campaign_id"] for one in api.get("/api/campaigns").json()["campaigns"]]


def test_a_full_disk_is_503_with_what_to_do_and_over_when_there_is_room(place: Place, redis_url: str, tmp_path: Path) -> None:
    with plane(redis_url, place.server.create_database(f"outages_{next(_numbers)}"), tmp_path) as ctx, serving(ctx) as api:
        migrate(ctx.store)
        kept = api.post("/api/campaigns", json=CAMPAIGN).json()["campaign_id"]
        place.admin("CHECKPOINT")
        place.disk.fill()
        try:
            answer = api.post("/api/campaigns", json={**CAMPAIGN, "jobs": [{"compute_unit": "cpu.onnx"}] * 20_000})
            assert is_unavailable(answer, "the database's disk is full")
            assert api.get(f"/api/campaigns/{kept}").json()["total_jobs"] == 1  # existing data can still be read
        finally:
            place.disk.free()
        assert eventually(api, "/api/health").status_code == 200
        again = api.post("/api/campaigns", json=CAMPAIGN)
        assert again.status_code == 201, again.text[:300]
        assert api.get("/api/campaigns").json()["count"] == 2


def test_a_log_that_finds_no_room_stops_the_server_and_loses_nothing(place: Place, redis_url: str, tmp_path: Path) -> None:
    """PostgreSQL stops with a panic when it cannot write its log. When there is space again, it restarts itself or is started."""
    with plane(redis_url, place.server.create_database(f"outages_{next(_numbers)}"), tmp_path) as ctx, serving(ctx) as api:
        migrate(ctx.store)
        kept = api.post("/api/campaigns", json=CAMPAIGN).json()["campaign_id"]
        place.disk.fill()
        try:
            with pytest.raises(psycopg.Error) as caught:
                place.fill_log()
            assert caught.value.diag.severity == "PANIC", caught.value
            assert is_unavailable(api.post("/api/campaigns", json=CAMPAIGN), "database")
        finally:
            place.disk.free()
        place.server.stop(signal.SIGQUIT)
        place.server.start()
        assert eventually(api, "/api/health").status_code == 200
        assert [one["campaign_id"] for one in api.get("/api/campaigns").json()["campaigns"]] == [kept]
        assert api.post("/api/campaigns", json=CAMPAIGN).status_code == 201
