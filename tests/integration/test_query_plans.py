"""Tests that the statements of each turn of dispatch read the few rows that they need, also in a database without statistics.

PostgreSQL chooses a plan by its statistics, which a new table does not have, and for a statement that is often repeated without the values
that are sent beside it. Both are so in the first minute of a large campaign.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from psycopg import sql
from sqlalchemy import event, text
from sqlmodel import Session

from orchestrator.operations.context import Context
from orchestrator.operations.submit import Submitted
from orchestrator.store import in_flight, turns
from tests.integration.conftest import NOON
from tests.servers import PostgresServer

_numbers = itertools.count(1)

LATER = NOON + timedelta(hours=1)
STATEMENTS: dict[str, tuple[Callable[[Session], Any], str]] = {
    "is_a_lane_open": (lambda session: turns.is_a_lane_open(session, LATER), "ix_jobs_frontier"),
    "open_lanes": (lambda session: turns.open_lanes(session, LATER, 10), "ix_jobs_frontier"),
    "waiting": (turns.waiting, "ix_jobs_dispatched"),
    "dispatched_queues": (in_flight.dispatched_queues, "ix_jobs_dispatched"),
    "working_on": (turns.working_on, "ix_jobs_running"),
    "running": (in_flight.running, "ix_jobs_running"),
}


@pytest.fixture
def migrated_url(postgres_server: PostgresServer, migrated_postgres: str) -> str:
    """Return the URL of a new database of PostgreSQL with our tables. SQLite has one plan for each statement."""
    return postgres_server.create_database(f"plans_{next(_numbers)}", template=migrated_postgres)


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_that_is_often_repeated_uses_the_index_of_the_few_rows(
    ctx: Context, submit: Callable[..., Submitted], name: str
) -> None:
    submit(jobs=2_000)
    run, index = STATEMENTS[name]
    with ctx.store.read() as session:
        session.execute(text("SET plan_cache_mode = force_generic_plan"))
        session.execute(text("SET enable_seqscan = off"))  # two thousand rows are few enough to be read whole
        plan = _plan(session, run)
    assert index in plan, plan


def _plan(session: Session, run: Callable[[Session], Any]) -> str:
    """Return the plan of the only statement that `run` executes, made without its values."""
    sent: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_others: Any) -> None:
        sent.append((statement, parameters))

    engine = session.connection().engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        run(session)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    [(statement, parameters)] = sent
    for number, name in enumerate(parameters, start=1):
        statement = statement.replace(f"%({name})s", f"${number}")
    driver: Any = session.connection().connection.dbapi_connection
    values = sql.SQL(", ").join(map(sql.Literal, parameters.values()))
    called = sql.SQL("({})").format(values) if parameters else sql.SQL("")
    driver.execute(f"PREPARE repeated AS {statement.replace('%%', '%')}")
    rows = driver.execute(sql.SQL("EXPLAIN EXECUTE repeated") + called).fetchall()
    driver.execute("DEALLOCATE repeated")
    return "\n".join(row[0] for row in rows)
