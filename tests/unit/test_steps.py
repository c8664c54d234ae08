"""Tests that the places exist at which the tests of `make chaos` kill a process. Those tests run rarely, and code moves."""

from __future__ import annotations

from importlib import import_module

import pytest

from tests.chaos.test_each_step import API, BLOCK, CONSUMER, WORKER


@pytest.mark.parametrize("place", sorted({place for _, place, _ in (*WORKER, *BLOCK, *CONSUMER, *API)}))
def test_a_step_names_something_that_can_be_called(place: str) -> None:
    module, _, path = place.partition(":")
    found: object = import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    assert callable(found)
