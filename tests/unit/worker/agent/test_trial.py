"""Tests that `worker test` reports each finding in one line, whatever answers at the orchestrator's address."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.file_server import file_server
from worker.agent.trial import UNREACHABLE, _broker, _orchestrator, _token
from worker.settings import load_settings


@pytest.mark.parametrize("body", [b"[1, 2]", b"<html>Welcome</html>", b"", b'"healthy"'])
def test_another_server_at_the_address_is_told_in_one_line(body: bytes) -> None:
    with file_server() as server:
        server.files |= {"/api/health": body, "/api/tokens/current": body}
        settings = load_settings(host=server.url)
        health, broker = _orchestrator(settings)
        token = _token(settings)
    assert (health.exit_code, broker, token.exit_code) == (UNREACHABLE, None, UNREACHABLE)
    assert "its answer is no JSON object" in health.found
    assert "does not answer as an orchestrator" in token.found


@pytest.mark.parametrize(
    ("told", "broker"),
    [
        ([1], None),
        ({"host": "lab"}, "redis://lab:6379/0"),
        ({"host": "fd00::7", "port": 6380}, "redis://[fd00::7]:6380/0"),
    ],
)
def test_what_the_orchestrator_says_of_its_broker_is_read_with_care(told: Any, broker: str | None) -> None:
    with file_server() as server:
        server.files["/api/health"] = json.dumps({"status": "healthy", "redis": told}).encode()
        assert _orchestrator(load_settings(host=server.url))[1] == broker


def test_a_token_without_a_role_is_told() -> None:
    with file_server() as server:
        server.files["/api/tokens/current"] = b"{}"
        assert "its role is None" in _token(load_settings(host=server.url)).found


def test_a_broker_behind_a_socket_is_named_by_its_path(tmp_path: Path) -> None:
    step = _broker(f"unix://{tmp_path}/redis.sock?db=0")
    assert step.exit_code == UNREACHABLE
    assert step.found.startswith(f"{tmp_path}/redis.sock does not answer")
