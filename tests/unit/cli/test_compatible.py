"""Tests what `fleetmark workers compatible` sends to the orchestrator, and how it shows the answer."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from cli.main import app
from tests.unit.cli.scripted_server import ScriptedServer

JOB = "campaign-0123456789abcdefgh-job-3"
WORK = {"title": "tiny", "kind": "generation", "compute_unit": "cpu.torch", "requires": {}, "needs": {"memory_mb": 228.0}}


def worker(name: str, can_run: bool, **said: Any) -> dict[str, Any]:
    lists: dict[str, Any] = {"missing_requirements": [], "warnings": [], "supported_features": [], "works": []}
    return {"worker_id": f"worker-{name}", "device_name": name, "status": "active", "can_run": can_run, **lists, **said}


def page(*workers: dict[str, Any], cursor: str | None = None) -> dict[str, Any]:
    able = sum(one["can_run"] for one in workers)
    return {"works": [WORK], "count": len(workers), "able": able, "workers": list(workers), "next_cursor": cursor}


def run(server: ScriptedServer, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["workers", "compatible", *arguments, "--host", server.url], env={"COLUMNS": "200"})
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def test_workers_are_shown_with_what_is_missing_and_what_they_have(server: ScriptedServer) -> None:
    able = worker("able", True, supported_features=["transformers 5.24.0"])
    server.on("POST /api/workers/compatibility", page(able, worker("bare", False, missing_requirements=["transformers"])))
    code, said = run(server, JOB)
    assert code == 0
    assert json.loads(server.requests[0].body) == {"job_id": JOB}
    assert "tiny on cpu.torch: the model takes 228 MB" in said
    assert "transformers 5.24.0" in said
    assert "1 of 2 workers can run all of it." in said


def test_every_page_is_read(server: ScriptedServer) -> None:
    server.on("POST /api/workers/compatibility", page(worker("a", True), cursor="worker-a"), page(worker("b", True)))
    code, said = run(server, JOB, "--json")
    assert [one["device_name"] for one in json.loads(said)["workers"]] == ["a", "b"]
    assert (code, server.requests[1].query) == (0, {"cursor": "worker-a"})


def test_of_a_snapshot_on_this_machine_only_its_config_is_uploaded(server: ScriptedServer, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "recipe.yaml").write_text("model: tiny\non: [cpu.torch]\nprompts: {}\n")
    server.on("POST /api/models", {"sha256": hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()})
    server.on("POST /api/workers/compatibility", page(worker("a", True)))
    _, said = run(server, str(tmp_path / "recipe.yaml"))
    uploaded = [request.query["name"] for request in server.requests if request.path == "/api/models"]
    assert uploaded == ["config.json"]
    assert "model.safetensors" not in said


def test_without_a_recipe_the_work_of_each_worker_is_shown(server: ScriptedServer) -> None:
    none = worker("a", False, missing_requirements=["the capability cpu.onnx"])
    works = [
        {**worker("a", True), "title": "inference on cpu.torch", "compute_unit": "cpu.torch"},
        {**worker("a", False, missing_requirements=["transformers"]), "title": "generation on cpu.torch", "compute_unit": "cpu.torch"},
        {**none, "title": "inference on cpu.onnx", "compute_unit": "cpu.onnx"},
    ]
    matrix = {"count": 1, "workers": [worker("a", True, works=works)], "next_cursor": None}
    server.on("GET /api/workers/compatibility/matrix", matrix)
    _, said = run(server, "--capability", "cpu.torch")
    assert server.requests[0].query == {"capability": "cpu.torch"}
    assert "generation on cpu.torch" in said
    assert "inference on cpu.onnx" not in said, "a capability that the worker does not have at all is left out"
