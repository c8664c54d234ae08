"""Tests that the statements of each turn of dispatch read the few rows that they need, also in a database without statistics.

PostgreSQL chooses a plan by its statistics, which a new table does not have, and for a statement that is often repeated without the values
that are sent beside it. Both are so in the first minute of a large campaign. SQLite has no statistics at all.
"""

from __future__ import annotations

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

pytestmark = pytest.mark.both_databases

LATER = NOON + timedelta(hours=1)
Run = Callable[[Session], Any]
# Each statement has the index that it must use. Those of a status serve as well for the running jobs, of which there are few.
STATEMENTS: dict[str, tuple[Run, tuple[str, ...]]] = {
    "is_a_lane_open": (lambda session: turns.is_a_lane_open(session, LATER), ("ix_jobs_frontier",)),
    "open_lanes": (lambda session: turns.open_lanes(session, LATER, 10), ("ix_jobs_frontier",)),
    "waiting": (turns.waiting, ("ix_jobs_dispatched",)),
    "dispatched_queues": (in_flight.dispatched_queues, ("ix_jobs_dispatched",)),
    "dispatched_in": (lambda session: in_flight.dispatched_in(session, ["cpu.onnx"]), ("ix_jobs_dispatched",)),
    "working_on": (turns.working_on, ("ix_jobs_running", "ix_jobs_status_campaign_id_number")),
    "running": (in_flight.running, ("ix_jobs_running", "ix_jobs_status_campaign_id_number")),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_of_each_turn_uses_the_index_of_the_few_rows(ctx: Context, submit: Callable[..., Submitted], name: str) -> None:
    submit(jobs=2_000)
    run, indexes = STATEMENTS[name]
    with ctx.store.read() as session:
        plan = _plan_of_sqlite(session, *_sent(session, run)) if ctx.store.is_sqlite else _plan_of_postgres(session, *_sent(session, run))
    assert any(index in plan for index in indexes), plan


def _sent(session: Session, run: Run) -> tuple[str, Any]:
    """Return the only statement that `run` executes, with what is sent beside it."""
    sent: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_others: Any) -> None:
        if statement.startswith("SELECT"):
            sent.append((statement, parameters))

    engine = session.connection().engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        run(session)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    [only] = sent
    return only


def _plan_of_sqlite(session: Session, statement: str, parameters: Any) -> str:
    rows = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
    return "\n".join(row[3] for row in rows)


def _plan_of_postgres(session: Session, statement: str, parameters: dict[str, Any]) -> str:
    """Return the plan that a statement has when it is repeated often, so that it is made without its values."""
    session.execute(text("SET plan_cache_mode = force_generic_plan"))
    session.execute(text("SET enable_seqscan = off"))  # two thousand rows are few enough to be read whole
    for number, name in enumerate(parameters, start=1):
        statement = statement.replace(f"%({name})s", f"${number}")
    driver: Any = session.connection().connection.dbapi_connection
    values = sql.SQL(", ").join(map(sql.Literal, parameters.values()))
    called = sql.SQL("({})").format(values) if parameters else sql.SQL("")
    driver.execute(f"PREPARE repeated AS {statement.replace('%%', '%')}")
    rows = driver.execute(sql.SQL("EXPLAIN EXECUTE repeated") + called).fetchall()
    driver.execute("DEALLOCATE repeated")
    return "\n".join(row[0] for row in rows)
