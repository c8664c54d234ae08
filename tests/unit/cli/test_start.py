from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli.client import Client
from cli.commands import start
from cli.errors import PartFailed
from cli.settings import CliSettings
from shared.errors import InvalidInput
from tests.unit.cli.scripted_server import ScriptedServer

OTHER, OURS = {"filename": "campaign-0_nightly.csv"}, {"filename": "campaign-1_quickstart.csv"}


def _stack(outputs: Path) -> Any:
    part = SimpleNamespace(failure=PartFailed)
    return SimpleNamespace(check=lambda: None, plan=SimpleNamespace(outputs_dir=outputs), parts=[part, part])


def test_the_demo_waits_until_the_file_of_its_campaign_is_listed(server: ScriptedServer, tmp_path: Path) -> None:
    server.on("GET /api/campaigns/campaign-1", {"reported_at": "2026-03-01T12:00:00Z"})
    server.on("GET /api/results/files", {"files": []}, {"files": [OTHER]}, {"files": [OTHER, OURS]})
    with Client(server.url) as client:
        assert start._wait_for_files(client, _stack(tmp_path), "campaign-1") == tmp_path / OURS["filename"]


def test_a_file_that_never_comes_is_the_orchestrators_failure(
    server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "FILES_WAIT_S", 0.2)
    server.on("GET /api/campaigns/campaign-1", {"reported_at": "2026-03-01T12:00:00Z"})
    server.on("GET /api/results/files", {"files": [OTHER]})
    with Client(server.url) as client, pytest.raises(PartFailed, match="did not write the campaign's files"):
        start._wait_for_files(client, _stack(tmp_path), "campaign-1")


@pytest.mark.parametrize(("port", "hint"), [(5000, False), (5077, True)])
def test_who_is_up_on_another_port_says_how_the_other_commands_find_it(capsys: pytest.CaptureFixture[str], port: int, hint: bool) -> None:
    plan = SimpleNamespace(bind="127.0.0.1", tls=False)
    stack: Any = SimpleNamespace(
        host=f"http://127.0.0.1:{port}", port=port, plan=plan, data_dir=Path("data"), redis_url="redis://127.0.0.1:1"
    )
    start._tell(stack, CliSettings())
    assert (f"export FLEETMARK_HOST=http://127.0.0.1:{port} " in capsys.readouterr().out) is hint


def _settings(**values: str) -> CliSettings:
    return CliSettings(**values)  # type: ignore[arg-type]  # pydantic converts the texts


def test_flower_asks_for_a_login_where_the_system_has_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    assert start._flower_login(_settings(), "redis://lab:6379/0") is None
    assert start._flower_login(_settings(token="s3cret"), "redis://lab:6379/0") == "fleetmark:s3cret"
    assert "s3cret" not in "".join(capsys.readouterr())
    for settings, broker in ((_settings(), "redis://:pw@lab:6379/0"), (_settings(token="a,b"), "redis://lab:6379/0")):
        with pytest.raises(InvalidInput, match="FLOWER_BASIC_AUTH"):
            start._flower_login(settings, broker)
    own = _settings(token="s3cret", flower_basic_auth="me:mine")
    assert start._flower_login(own, "redis://:pw@lab:6379/0") is None, "the user's own login counts"
