"""What the store says when the database is there and not as it should be."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlmodel import Session

from orchestrator.store import Store, campaigns
from shared.errors import Unavailable


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
