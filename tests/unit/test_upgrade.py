"""Tests that `make upgrade` brings a clone and its database to the newest version, one step after the other."""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from tools.upgrade import sqlite_file, upgrade


def database(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE campaigns (id)")
        connection.execute("INSERT INTO campaigns VALUES ('kept')")
        connection.commit()


def test_the_database_is_copied_after_the_install_and_before_the_migration(tmp_path: Path) -> None:
    database(tmp_path / "fleetmark.db")
    done: list[str] = []

    def run(command: Sequence[str | Path]) -> None:
        done.append(f"{len(list(tmp_path.glob('backups/*.db')))} copies: {' '.join(map(str, command))}")

    upgrade(tmp_path, "", tmp_path / "venv", backed_up=False, run=run)
    assert [line.split(" ", 3)[0] for line in done] == ["0", "0", "1"]
    assert "git pull --ff-only" in done[0]
    assert "tools/environment.py demo" in done[1]
    assert done[2].endswith("-P -m orchestrator.cli migrate")
    assert f"FLEETMARK_DATABASE_URL=sqlite:///{tmp_path / 'fleetmark.db'}" in done[2]
    [copy] = tmp_path.glob("backups/*.db")
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT id FROM campaigns").fetchall() == [("kept",)]


def test_a_step_that_fails_is_the_last(tmp_path: Path) -> None:
    database(tmp_path / "fleetmark.db")

    def run(command: Sequence[str | Path]) -> None:
        assert command[0] == "git", "nothing is done after it"
        raise SystemExit("not possible to fast-forward")

    with pytest.raises(SystemExit, match="fast-forward"):
        upgrade(tmp_path, "", tmp_path / "venv", backed_up=False, run=run)
    assert not (tmp_path / "backups").exists()


def test_nothing_is_done_while_it_runs(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(SystemExit, match="is running in"):
            upgrade(tmp_path, "", tmp_path / "venv", backed_up=False, run=lambda _: pytest.fail("a step was done"))


def test_a_postgresql_that_nobody_backed_up_is_left_alone(tmp_path: Path) -> None:
    url = "postgresql://me:secret@lab/fleet"
    with pytest.raises(SystemExit, match="BACKED_UP=1") as told:
        upgrade(tmp_path, url, tmp_path / "venv", backed_up=False, run=lambda _: pytest.fail("a step was done"))
    assert "secret" not in str(told.value)
    done: list[Sequence[str | Path]] = []
    upgrade(tmp_path, url, tmp_path / "venv", backed_up=True, run=done.append)
    assert len(done) == 3


def test_the_file_of_an_address_is_read_as_the_orchestrator_reads_it(tmp_path: Path) -> None:
    assert sqlite_file("sqlite:////srv/what%3F.db?timeout=5", tmp_path) == Path("/srv/what?.db")
    assert sqlite_file("sqlite:///here.db", tmp_path) == Path("here.db")
