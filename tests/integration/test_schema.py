"""Tests that the migrations make exactly the tables of the code."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from orchestrator.store import Store
from orchestrator.store.schema import current, differences, migrate, newest, require_current
from shared.errors import Unavailable

pytestmark = pytest.mark.both_databases


@pytest.fixture
def empty_store(database_url: str) -> Iterator[Store]:
    store = Store(database_url)
    yield store
    store.close()


def test_the_migrations_equal_the_tables(empty_store: Store) -> None:
    migrate(empty_store)
    assert current(empty_store) == newest()
    assert differences(empty_store) == []


def test_an_empty_database_differs_from_the_tables(empty_store: Store) -> None:
    assert differences(empty_store) != []


def test_a_database_at_another_revision_is_refused_with_the_command_that_mends_it(empty_store: Store) -> None:
    with pytest.raises(Unavailable, match=r"orchestrator\.cli migrate"):
        require_current(empty_store)


def test_two_processes_may_migrate_at_once(database_url: str) -> None:
    stores = [Store(database_url), Store(database_url)]
    failures: list[Exception] = []

    def run(store: Store) -> None:
        try:
            migrate(store)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert differences(stores[0]) == []
    for store in stores:
        store.close()
