"""Tests that the entry of each driver and the words of its service say the same."""

from __future__ import annotations

from inspect import isfunction

import pytest

from shared.services.registry import SERVICES
from worker.drivers.registry import DRIVERS
from worker.plug_ins import named


@pytest.mark.parametrize("name", SERVICES)
def test_each_figure_of_a_service_is_computed_and_each_computed_figure_is_described(name: str) -> None:
    """A figure that stands only in the words of a service would be in no result, and nothing would say why."""
    entry, described = DRIVERS[name], set(SERVICES[name].figures)
    assert set(entry.figures) <= described
    if not (entry.keeps or entry.searches or entry.counts):  # otherwise further figures are made of what such a driver finds
        assert set(entry.figures) == described


@pytest.mark.parametrize("name", DRIVERS)
def test_what_an_entry_names_is_there(name: str) -> None:
    for figure in DRIVERS[name].figures.values():
        assert all(isfunction(named(target)) for target in (figure.computed, figure.unit) if target)
        assert not figure.operation or figure.operation in named(DRIVERS[name].target).operations
