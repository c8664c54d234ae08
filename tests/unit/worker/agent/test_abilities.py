"""Tests what a worker says about its abilities, and that placement reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.domain.compatibility import KnownWorker, compatibility
from orchestrator.domain.work_needs import WorkNeeds
from shared.adverts import advert_of
from shared.recipes import Requirements
from worker.agent.abilities import abilities
from worker.generators.registry import GENERATORS, GeneratorEntry
from worker.hardware import detect


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
