"""Tests that wrong settings are reported at the start."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlalchemy import URL
from sqlalchemy.engine import make_url

from cli.settings import sqlite_url
from orchestrator.settings import Settings
from orchestrator.store import Store


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_way_to_write_postgresql_means_the_driver_that_is_installed(scheme: str) -> None:
    assert Settings(database_url=f"{scheme}://user:p%40ss@host:5432/name").database_url == "postgresql+psycopg://user:p%40ss@host:5432/name"


@pytest.mark.parametrize("url", ["mysql://host/name", "fleetmark.db", "sqlite3:///x"])
def test_a_database_that_is_not_known_is_refused_with_the_known_ones(url: str) -> None:
    with pytest.raises(ValidationError, match=r"must begin with sqlite:/// or postgresql://"):
        Settings(database_url=url)


@pytest.mark.parametrize("url", ["localhost:6379", "http://localhost:6379", "amqp://host"])
def test_a_broker_that_is_not_redis_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match=r"a broker's address is written redis://host:6379/0"):
        Settings(redis_url=url)


def test_the_token_may_be_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "token"
    file.write_text("from-file\n")
    monkeypatch.setenv("FLEETMARK_TOKEN_FILE", str(file))
    token = Settings().token
    assert token is not None
    assert token.get_secret_value() == "from-file"
    with pytest.raises(ValidationError, match="cannot be read"):
        Settings(token_file=tmp_path / "none")


def test_an_empty_token_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """`FLEETMARK_TOKEN=` in a unit file must not become a token that everyone can guess."""
    for value in ("", "  "):
        monkeypatch.setenv("FLEETMARK_TOKEN", value)
        assert Settings().token is None


def test_settings_that_are_printed_show_no_secret() -> None:
    shown = repr(
        Settings.model_validate(
            {
                "token": "t0ken",
                "redis_url": "redis://:r3dis@host",
                "worker_redis_url": "redis://:w0rker@host",
                "database_url": "postgresql://user:p0stgres@host/name",
            }
        )
    )
    assert not [secret for secret in ("t0ken", "r3dis", "w0rker", "p0stgres") if secret in shown]


@pytest.mark.parametrize("name", ["redis_url", "worker_redis_url", "database_url"])
def test_an_address_that_cannot_be_read_is_refused_without_repeating_its_password(name: str) -> None:
    scheme = "postgresql" if name == "database_url" else "redis"
    for login in (":SECRET/x", ":SECRET?x", "us er:SECRET"):
        with pytest.raises(ValidationError, match="%2F") as refused:
            Settings.model_validate({name: f"{scheme}://{login}@host/0"})
        assert "SECRET" not in str(refused.value.errors(include_input=False, include_url=False))


@pytest.mark.parametrize("name", ["plain", "a b", "what?", "a#b", "100%", "%41", "ünïcode", 'q"uote', "a&b=c;d", ":memory:"])
def test_a_database_may_lie_in_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    file = tmp_path / name / "fleetmark.db"
    url = Settings(database_url=sqlite_url(file)).database_url
    assert make_url(url).database == URL.create("sqlite", database=str(file)).database == str(file)
    store = Store(url)
    try:
        store.ping_ms()
    finally:
        store.close()
    assert file.is_file()
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///:memory:?cache=shared"])
def test_a_database_that_other_processes_cannot_share_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="must name a file"):
        Settings(database_url=url)


@pytest.mark.parametrize("url", ["sqlite:////srv/what?/fleetmark.db", "sqlite:///a?b.db", "sqlite:////srv/x?timeout=3&y"])
def test_a_question_mark_in_the_name_of_a_database_is_not_lost(url: str) -> None:
    with pytest.raises(ValidationError, match="write it as %3F"):
        Settings(database_url=url)


@pytest.mark.parametrize("host", ["::1", "[::1]", " [::1] "])
def test_an_address_of_ipv6_may_stand_in_brackets(host: str) -> None:
    assert Settings(host=host).host == "::1"


def test_a_setting_is_read_by_its_old_name_and_the_new_one_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().old_names == []
    monkeypatch.setenv("FLEETMARK_SWEEP_S", "3.5")
    settings = Settings()
    assert settings.watch_sweep_s == 3.5
    assert settings.old_names == ["FLEETMARK_SWEEP_S is called FLEETMARK_WATCH_SWEEP_S now; the old name is read until version 0.2.0"]
    monkeypatch.setenv("FLEETMARK_WATCH_SWEEP_S", "4")
    assert Settings().watch_sweep_s == 4
    monkeypatch.setenv("FLEETMARK_SWEEP_S", "-1")
    with pytest.raises(ValidationError, match="sweep_s"):
        Settings()
