"""Tests a database that an earlier version filled. After the migration every row is there, and work continues.

The code of that revision wrote `rows_of_revision_0001.json` through its own operations. It contains jobs in every state, a result of each
kind, an attempt that was handed back, an attempt that was lost, and a recipe that waits for a worker.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import DateTime, MetaData, select, text
from sqlmodel import Session

from orchestrator.operations.dispatching import top_up
from orchestrator.operations.record import record
from orchestrator.reports.columns import COLUMNS
from orchestrator.store import Store
from orchestrator.store import schema as schema_of
from orchestrator.store.schema import current, differences, migrate, newest, require_current
from shared.errors import Unavailable
from tests.integration.api.conftest import serving
from tests.integration.api.test_outages import CAMPAIGN, DEVICE, plane
from tests.integration.reports import result, started

pytestmark = pytest.mark.both_databases

FIRST = "0001"
COLUMNS_THEN = 50  # the number of columns of the CSV when these lines were written
ROWS: dict[str, list[dict[str, Any]]] = json.loads((Path(__file__).parent / f"rows_of_revision_{FIRST}.json").read_text())
ENDED, WAITING, AT_WORK = (campaign["id"] for campaign in ROWS["campaigns"])

# The next migration may look like this one: SQLite can change a column only by making its table again.
REBUILD = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "9999", "{newest}"


def upgrade():
    with op.batch_alter_table("campaigns") as campaigns:
        campaigns.alter_column("name", type_=sa.String(300), existing_type=sa.String(200), existing_nullable=False)
"""


@pytest.fixture
def old(database_url: str) -> Iterator[Store]:
    """Yield the database in the state in which the first revision left it."""
    store = Store(database_url)
    migrate(store, FIRST)

    def fill(session: Session) -> None:
        tables = MetaData()
        tables.reflect(session.connection())
        for table in tables.sorted_tables:
            moments = [column.name for column in table.c if isinstance(column.type, DateTime)]
            numbered = [
                column.name
                for column in table.c
                if column.autoincrement is True or (column.name == "id" and table.name in ("lanes", "events"))
            ]
            for row in ROWS.get(table.name, []):
                values = row | {name: _moment(row[name]) for name in moments if row[name] is not None}
                session.execute(table.insert().values({name: value for name, value in values.items() if name not in numbered}))

    store.transact(fill)
    assert rows_of(store) == ROWS
    yield store
    store.close()


def _moment(stored: str) -> datetime:
    return datetime.fromisoformat(stored).replace(tzinfo=UTC)


def rows_of(store: Store) -> dict[str, list[dict[str, Any]]]:
    """Return every row and column that the first revision had."""
    with store.read() as session:
        tables = MetaData()
        tables.reflect(session.connection())
        found: dict[str, list[dict[str, Any]]] = {}
        for name, rows in ROWS.items():
            table = tables.tables[name]
            columns = [table.c[column] for column in rows[0]]
            found[name] = [
                {column: _plain(value) for column, value in row._mapping.items()}
                for row in session.execute(select(*columns).order_by(columns[0]))
            ]
        return found


def _plain(value: Any) -> Any:
    return f"{value.astimezone(UTC) if value.tzinfo else value:%Y-%m-%d %H:%M:%S.%f}" if isinstance(value, datetime) else value


def test_every_row_is_there_after_the_migration(old: Store) -> None:
    migrate(old)
    assert current(old) == newest()
    assert differences(old) == []
    assert rows_of(old) == ROWS


def test_the_code_reads_what_an_earlier_version_wrote_and_goes_on_with_it(
    old: Store, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    migrate(old)
    with plane(redis_url, database_url, tmp_path) as ctx, serving(ctx) as api:
        listed = {one["campaign_id"]: one for one in api.get("/api/campaigns").json()["campaigns"]}
        assert set(listed) == {ENDED, WAITING, AT_WORK}
        for row in ROWS["campaigns"]:
            breakdown = {state: row[f"{state}_jobs"] for state in ("pending", "running", "complete", "failed", "cancelled")}
            assert api.get(f"/api/campaigns/{row['id']}").json()["job_breakdown"] == breakdown
        for row in ROWS["jobs"]:
            shown = api.get(f"/api/jobs/{row['id']}").json()["job"]
            assert (shown["status"], shown["attempt"], shown["error"]) == (row["status"], row["attempt"], row["error"])
        table = api.get(f"/api/campaigns/{ENDED}/results").text
        kept = [row["line"].removesuffix("\r\n") for row in ROWS["results"]]
        assert [line for line in kept if f"{line}{',' * (len(COLUMNS) - COLUMNS_THEN)}\r\n" in table] == kept
        assert {frozenset(row) for row in api.get(f"/api/campaigns/{ENDED}/results?format=json").json()} == {frozenset(COLUMNS)}
        replayed = api.post("/api/campaigns", json=ROWS["campaigns"][0]["recipe"], headers={"Idempotency-Key": "an-idempotency-key"})
        assert replayed.json()["campaign_id"] == ENDED

        worker = api.post("/api/register", json=DEVICE).json()["worker_id"]
        top_up(ctx)
        at_work = f"{AT_WORK}-job-2"
        incarnation = next(row["incarnation"] for row in ROWS["jobs"] if row["id"] == at_work)
        record(ctx, [result(at_work, worker_id=worker).model_copy(update={"incarnation": incarnation})])
        assert api.get(f"/api/jobs/{at_work}").json()["job"]["status"] == "complete"
        waiting = f"{AT_WORK}-job-3"
        record(ctx, [started(waiting, worker_id=worker), result(waiting, worker_id=worker)])
        assert api.get(f"/api/campaigns/{AT_WORK}").json()["job_breakdown"]["complete"] == 2
        assert api.post(f"/api/campaigns/{WAITING}/cancel").json()["status"] == "cancelled"
        assert api.post("/api/campaigns", json=CAMPAIGN).status_code == 201


def test_a_migration_that_makes_a_table_anew_takes_nothing_with_it(old: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To make a table again, SQLite drops the old one, and then also deletes the rows that refer to it."""
    folder = tmp_path / "migrations"
    shutil.copytree(schema_of.MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / "9999_rebuild.py").write_text(REBUILD.format(newest=newest()))
    monkeypatch.setattr(schema_of, "MIGRATIONS", folder)
    migrate(old)
    assert current(old) == "9999"
    assert rows_of(old) == ROWS


def test_a_database_of_a_newer_version_is_left_alone_and_the_ways_out_are_named(old: Store) -> None:
    """Only a backup leads back to the earlier version. A migration back would have to drop the data that only the newer version knows."""
    migrate(old)
    old.transact(lambda session: session.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    for refuse in (migrate, require_current):
        with pytest.raises(Unavailable, match=r"at revision 9999, which this version does not know .* restore the backup"):
            refuse(old)
    assert rows_of(old) == ROWS
