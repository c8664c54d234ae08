from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli.client import Client
from cli.commands import demo
from cli.errors import PartFailed
from tests.unit.cli.scripted_server import ScriptedServer

OTHER, OURS = {"filename": "campaign-0_nightly.csv"}, {"filename": "campaign-1_quickdemo.csv"}


def _stack(outputs: Path) -> Any:
    part = SimpleNamespace(failure=PartFailed)
    return SimpleNamespace(check=lambda: None, plan=SimpleNamespace(outputs_dir=outputs), parts=[part, part])


def test_the_demo_waits_until_the_file_of_its_campaign_is_listed(server: ScriptedServer, tmp_path: Path) -> None:
    server.on("GET /api/campaigns/campaign-1", {"reported_at": "2026-03-01T12:00:00Z"})
    server.on("GET /api/results/files", {"files": []}, {"files": [OTHER]}, {"files": [OTHER, OURS]})
    with Client(server.url) as client:
        assert demo._wait_for_files(client, _stack(tmp_path), "campaign-1") == tmp_path / OURS["filename"]


def test_a_file_that_never_comes_is_the_orchestrators_failure(
    server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "FILES_WAIT_S", 0.2)
    server.on("GET /api/campaigns/campaign-1", {"reported_at": "2026-03-01T12:00:00Z"})
    server.on("GET /api/results/files", {"files": [OTHER]})
    with Client(server.url) as client, pytest.raises(PartFailed, match="did not write the campaign's files"):
        demo._wait_for_files(client, _stack(tmp_path), "campaign-1")
