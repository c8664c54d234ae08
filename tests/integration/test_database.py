"""Tests the store with a database that can be reached but is not in the expected state."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import OperationalError
from sqlmodel import Session

from orchestrator.operations.cancel import cancel_job
from orchestrator.operations.context import Context
from orchestrator.operations.submit import Submitted
from orchestrator.store import Store, campaigns, jobs
from orchestrator.store.schema import migrate
from shared.clock import SystemClock
from shared.errors import Unavailable
from shared.ids import job_id
from tests.servers import PostgresServer

pytestmark = pytest.mark.both_databases

Submit = Callable[..., Submitted]


def test_a_database_without_our_tables_names_the_command_that_makes_them(database_url: str) -> None:
    store = Store(database_url)
    with pytest.raises(Unavailable, match=r"run `python -m orchestrator\.cli migrate`"), store.read() as session:
        campaigns.unreported(session)
    store.close()


def test_a_database_that_only_reads_is_away_and_no_mistake_of_the_caller(database_url: str) -> None:
    store = Store(database_url)

    def work(session: Session) -> None:
        session.execute(text("PRAGMA query_only = ON" if store.is_sqlite else "SET TRANSACTION READ ONLY"))
        session.execute(text("CREATE TABLE something (id INTEGER)"))

    with pytest.raises(Unavailable, match=r"read-?only"):
        store.transact(work)
    store.close()


def test_a_statement_that_no_database_would_take_is_no_outage(database_url: str) -> None:
    """A caller that takes this error for an outage would wait for ever."""
    store = Store(database_url)
    too_large = "SELECT json('{')" if store.is_sqlite else "SELECT repeat('x', 2000000000)"
    with pytest.raises(OperationalError), store.read() as session:
        session.execute(text(too_large))
    too_many = ", ".join(["?"] * 300_000 if store.is_sqlite else ["%s"] * 70_000)
    with pytest.raises(OperationalError), store.read() as session:
        session.connection().exec_driver_sql(f"SELECT 1 WHERE 1 IN ({too_many})", (1,) * (too_many.count(",") + 1))
    assert store.ping_ms() > 0
    store.close()


def test_a_database_that_forbids_its_user_to_write_is_away(postgres_server: PostgresServer) -> None:
    url = make_url(postgres_server.create_database("forbidding"))
    owner = Store(url)
    migrate(owner)
    owner.transact(lambda session: session.execute(text("CREATE ROLE reader LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")))
    store = Store(url.set(username="reader"))
    with pytest.raises(Unavailable, match=r"permission denied for table events.*grant it every right"):
        store.transact(lambda session: session.execute(text("DELETE FROM events")))
    store.close()
    owner.transact(lambda session: session.execute(text("DROP OWNED BY reader; DROP ROLE reader")))
    owner.close()


@pytest.mark.parametrize("wrong", ["database", "user", "login", "tls"])
def test_a_wrong_address_of_a_database_is_to_be_corrected_and_not_waited_for(postgres_server: PostgresServer, wrong: str) -> None:
    right = make_url(postgres_server.create_database(f"there_{wrong}"))
    owner = Store(right)
    owner.transact(lambda session: session.execute(text(f"CREATE ROLE {wrong}_mute NOLOGIN")))
    addresses = {
        "database": (right.set(database="nobody_made_it"), "does not exist"),
        "user": (right.set(username="nobody"), "does not exist"),
        "login": (right.set(username="login_mute"), "not permitted to log in"),
        "tls": (right.update_query_dict({"sslmode": "require"}), "does not support SSL"),
    }
    address, said = addresses[wrong]
    store = Store(address)
    with pytest.raises(Unavailable, match=rf"(?s){said}.*; correct FLEETMARK_DATABASE_URL$"):
        store.ping_ms()
    store.close()
    owner.transact(lambda session: session.execute(text(f"DROP ROLE {wrong}_mute")))
    owner.close()


def test_more_ids_than_a_statement_takes_are_looked_up_all_the_same(ctx: Context, submit: Submit) -> None:
    campaign = submit(jobs=2).campaign
    ended, waits = (job_id(campaign.id, number) for number in (1, 2))
    cancel_job(ctx, ended)
    strangers = [job_id(campaign.id, number) for number in range(10, 70_000)]
    with ctx.store.read() as session:
        assert jobs.statuses(session, [ended, *strangers, waits]) == {ended: "cancelled", waits: "pending"}


def test_a_lock_that_another_process_keeps_is_waited_for_once(
    migrated_sqlite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.store.database.SQLITE_BUSY_TIMEOUT_MS", 400)
    file = tmp_path / "locked.db"
    shutil.copyfile(migrated_sqlite, file)
    holder, store, clock = Store(f"sqlite:///{file}"), Store(f"sqlite:///{file}"), SystemClock()

    def while_locked(session: Session) -> None:
        session.execute(text("SELECT 1"))  # the transaction begins with this statement, and holds the lock
        began = clock.monotonic()
        with pytest.raises(Unavailable, match="database is locked"):
            store.transact(lambda other: other.execute(text("DELETE FROM events")))
        assert 0.3 < clock.monotonic() - began < 1.5, "five tries would take 2 s"

    holder.transact(while_locked)
    store.transact(lambda session: session.execute(text("DELETE FROM events")))
    holder.close()
    store.close()
