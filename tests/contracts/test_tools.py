"""Tests that every tool that drives a service in place of our own clients keeps the same contract. Its program need not be there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from shared.errors import EngineUnavailable
from shared.kinds.load import LoadSpec
from shared.request_records import RECORD
from shared.services.native_tools import OURS, TOOLS, drivers_of, tools_of
from shared.services.registry import SERVICES
from worker.drivers.registry import resolve as driver_named
from worker.tools.base import ToolPhase, ToolRun
from worker.tools.registry import TOOLS as CLASSES
from worker.tools.registry import resolve

NAMES = sorted(TOOLS)


def settings_of(service: str) -> dict[str, Any]:
    settings = SERVICES[service].client().model_dump(mode="json")
    return settings | ({"model": "tiny"} if "model" in settings else {})


def phase(folder: Path, operation: str, count: int | None = 10, duration_s: float | None = None) -> ToolPhase:
    return ToolPhase("only", {operation: 1.0}, None, 4, 2, count, duration_s, 0.0, 7, folder)


def test_every_tool_that_a_recipe_may_ask_for_has_a_class_and_the_fake_ships() -> None:
    assert {*TOOLS, "fake"} == set(CLASSES)
    with pytest.raises(EngineUnavailable, match="did you mean 'pgbench'"):
        resolve("pgbensh")


@pytest.mark.parametrize("name", NAMES)
def test_the_operations_have_the_names_of_our_own_driver(name: str) -> None:
    assert resolve(name).operations == driver_named(TOOLS[name].services[0]).operations


@pytest.mark.parametrize("name", NAMES)
def test_a_tool_that_is_not_installed_is_one_sentence_with_the_command_that_installs_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(f"{resolve(name).__module__}.find_program", _without_folders(name))
    tool = resolve(name)("127.0.0.1:1", settings_of(TOOLS[name].services[0]), {})
    with pytest.raises(EngineUnavailable) as raised:
        tool.version()
    assert f"install it with `{TOOLS[name].install}`" in raised.value.detail


def _without_folders(name: str) -> Any:
    from worker.tools.program import find_program

    return lambda tool, *_folders, program="": find_program(tool, program=program)


def program(folder: Path, name: str, script: str) -> None:
    """Put a program of this name on a folder, which is then the PATH. It is a shell script."""
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize("name", NAMES)
def test_a_program_that_fails_is_told_with_what_it_said_and_never_with_a_password(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "vllm" if name == "vllm-bench" else name, 'echo "cannot: no such thing" >&2; env > env.txt; exit 3')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    secrets = {} if TOOLS[name].services[0] == "redis" else {"password": "s3cret"}
    tool = resolve(name)("127.0.0.1:1", settings_of(TOOLS[name].services[0]), secrets)
    with pytest.raises(EngineUnavailable, match=r"exit code 3\): cannot: no such thing"):
        tool.run(phase(tmp_path, tool.operations[0]), lambda _news: None, lambda: False)
    assert "FLEETMARK" not in (tmp_path / "env.txt").read_text()


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_native_is_the_first_tool_of_a_service_and_our_own_clients_are_the_default(service: str) -> None:
    assert drivers_of(service)[0] == OURS
    assert drivers_of(service)[1:] == tuple(tool.name for tool in tools_of(service))
    spec = {"service": {"type": service}, "client": {"type": service}, "phases": [{"name": "x", "operations": {"x": 1}, "count": 1}]}
    dumped = LoadSpec.model_validate(spec, strict=False).model_dump(mode="json")
    assert "driver" not in dumped["client"], "a worker of the version before would refuse the job"
    spec["client"] = {"type": service, "driver": "some-tool"}
    dumped = LoadSpec.model_validate(spec, strict=False).model_dump(mode="json")
    assert dumped["client"]["driver"] == "some-tool"
    assert LoadSpec.model_validate(dumped, strict=False).client.driver == "some-tool"


@pytest.mark.parametrize("tells", ["each", "steps"])
def test_the_fake_tells_what_its_settings_say(tells: str, tmp_path: Path) -> None:
    news: list[str] = []
    run: ToolRun = resolve("fake")("", {"took_ms": [1.0, 3.0], "tells": tells}, {}).run(phase(tmp_path, "ask"), news.append, lambda: False)
    assert run.printed == {"requests per second": 500.0}
    assert news
    if tells == "steps":
        assert (dict(run.steps), run.window_s) == ({"ask": ((1.0, 1), (3.0, 2))}, 0.004)
    else:
        assert run.records is not None
        assert [(due, last) for due, _, _, last, *_ in RECORD.iter_unpack(run.records.read_bytes())] == [(0, 1e6), (1_000_000, 3e6)]
    with pytest.raises(EngineUnavailable, match="not here"):
        resolve("fake")("", {"missing": "it is not here"}, {}).version()
