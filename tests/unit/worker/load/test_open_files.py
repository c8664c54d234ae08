"""Tests that a load with too many connections is refused before anything is started, with the command that allows them."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from shared.errors import ModelInvalid
from worker.load import open_files
from worker.load.open_files import allow_open_files, check_connections


@pytest.fixture
def few_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (100, 1_000))


def test_more_connections_than_open_files_are_refused_with_the_command_that_allows_them(few_files: None) -> None:
    check_connections(900, 3, with_server=False)
    with pytest.raises(ModelInvalid, match=r"2000 connections of one client process need 2064 open files, and this device allows 1000\. "):
        check_connections(2_000, 1, with_server=False)
    with pytest.raises(ModelInvalid, match=r"the server's 1800 connections need 1864 open files.*`ulimit -n 1864`"):
        check_connections(900, 2, with_server=True)


def test_a_process_raises_its_own_limit_no_further_than_it_needs(few_files: None, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _which, limits: wanted.append(limits))
    allow_open_files(20)
    allow_open_files(500)
    assert wanted == [(564, 1_000)]


def test_more_connections_than_ports_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "range").write_text("40000\t40099\n")
    monkeypatch.setattr(open_files, "PORTS", tmp_path / "range")
    check_connections(50, 2, with_server=False)
    with pytest.raises(ModelInvalid, match="4 client processes with 30 connections each need 120 ports, and this device has 100"):
        check_connections(30, 4, with_server=False)
