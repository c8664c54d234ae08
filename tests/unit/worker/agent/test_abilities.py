"""Tests what a worker says about its abilities, and that placement reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.domain.compatibility import KnownWorker, compatibility
from orchestrator.domain.work_needs import WorkNeeds
from shared.adverts import advert_of
from shared.recipes import Requirements
from shared.workers import Registration
from worker.agent.abilities import abilities, without_lost_servers
from worker.generators.registry import GENERATORS, GeneratorEntry
from worker.hardware import detect
from worker.services.redis import RedisService


def test_placement_reads_what_a_worker_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(GENERATORS, "cpu.torch", GeneratorEntry("x:Y", needs=("json",)))
    said = abilities(detect(), ("cpu.torch", "cpu.onnx", "service.redis"))
    worker = KnownWorker("worker-a", "a", ("cpu.torch",), advert=advert_of(said))
    assert worker.advert.work == {
        "cpu.torch": {"inference": {}, "generation": {"json": ""}},
        "cpu.onnx": {"inference": {}},
        "service.redis": {"load": {}},
    }
    assert worker.advert.containers == "docker"
    assert compatibility(worker, ("cpu.torch",), None, Requirements(), WorkNeeds(kind="generation")).can_run


def test_a_worker_without_the_library_says_that_it_does_inferences_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GENERATORS, "cpu.torch", GeneratorEntry("x:Y", needs=("no_such_library",)))
    assert abilities(detect(), ("cpu.torch",))["work"] == {"cpu.torch": {"inference": {}}}


def test_a_server_whose_program_is_gone_is_offered_no_longer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "tritonserver"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    offer = {"services": {"redis": "valkey-server 9", "triton": "tritonserver"}, "memory_mb": 1}
    before = Registration(device_name="pi", capabilities=["service.triton"], hardware=offer)
    monkeypatch.setattr(RedisService, "version", lambda _self: "valkey-server 9")
    assert without_lost_servers(before) is before
    program.unlink()
    after = without_lost_servers(before)
    assert after.hardware == {"services": {"redis": "valkey-server 9"}, "memory_mb": 1}
    assert without_lost_servers(after) is after
