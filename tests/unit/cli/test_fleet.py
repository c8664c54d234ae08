"""Tests what `fleetmark workers` says that a device can do."""

from __future__ import annotations

import pytest

from cli.commands.fleet import capabilities_text


@pytest.mark.parametrize(
    ("capabilities", "text"),
    [
        (["cpu.onnx", "service.redis", "service.http", "api.openai"], "cpu.onnx, api.openai, service.redis, service.http"),
        (["cpu.onnx", "service.redis", "service.http", "service.qdrant"], "cpu.onnx, 3 services"),
        ([], ""),
    ],
)
def test_many_services_of_a_worker_are_only_counted(capabilities: list[str], text: str) -> None:
    assert capabilities_text(capabilities) == text
