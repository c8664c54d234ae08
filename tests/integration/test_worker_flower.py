"""Tests what Flower shows of a real worker: its name, its queues, and its tasks with their arguments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.flower_process import flower_on
from tests.integration.worker_process import Fleet, eventually, fleet_at, tiny_job


@pytest.fixture
def fleet(redis_url: str, tmp_path: Path) -> Iterator[Fleet]:
    with fleet_at(redis_url, tmp_path) as made:
        yield made


@pytest.fixture
def flower(redis_url: str, tmp_path: Path) -> Iterator[httpx.Client]:
    with flower_on(redis_url, tmp_path) as client:
        yield client


def test_flower_shows_workers_queues_and_tasks_by_readable_names(fleet: Fleet, flower: httpx.Client, tmp_path: Path) -> None:
    worker_id = fleet.registered(fleet.start())
    nodename = f"lab-pi-3@{worker_id}"

    def shown() -> dict[str, Any] | None:
        answer = flower.get("/api/workers", params={"refresh": "1"})
        found: dict[str, Any] = answer.json() if answer.is_success else {}
        return found.get(nodename) if found.get(nodename, {}).get("active_queues") else None

    worker = eventually(shown, f"{nodename} in Flower")
    assert {queue["name"] for queue in worker["active_queues"]} >= {"cpu.onnx", f"worker.{worker_id}"}
    job = tiny_job(tmp_path)
    fleet.send(job)
    fleet.report("result", job.job_id)

    def done() -> dict[str, Any] | None:
        tasks: dict[str, dict[str, Any]] = flower.get("/api/tasks").json()
        task = tasks.get(f"{job.job_id}.1")
        return task if task and task["state"] == "SUCCESS" else None

    task = eventually(done, "the task succeeded in Flower's eyes")
    assert task["name"] == "fleetmark.run_job"
    assert task["args"] == f"({job.job_id!r}, attempt=1)"
    assert task["worker"] == nodename
    assert task["result"] == "'complete'"
    bad = tiny_job(tmp_path).model_copy(update={"job_id": job.job_id.replace("-job-", "-job-9"), "capability": "no.such"})
    fleet.send(bad)
    fleet.report("result", bad.job_id)

    def failed() -> dict[str, Any] | None:
        tasks: dict[str, dict[str, Any]] = flower.get("/api/tasks").json()
        return next((task for name, task in tasks.items() if name == f"{bad.job_id}.1" and task["state"] == "FAILURE"), None)

    shown_failure = eventually(failed, "a failed job is a failed task")
    assert "no.such" in shown_failure["exception"]
    assert fleet.unacknowledged() == 0, "its message is acknowledged all the same"
    assert "results" in {queue["name"] for queue in flower.get("/api/queues/length").json()["active_queues"]}
    for call in (f"/api/worker/shutdown/{nodename}", f"/api/task/revoke/{job.job_id}.1", f"/api/worker/queue/cancel-consumer/{nodename}"):
        answer = flower.post(call, params={"queue": "cpu.onnx"})
        assert (answer.status_code, "read only" in f"{answer.reason_phrase} {answer.text}".lower()) == (403, True)
    for page in ("/api/workers", "/workers", "/broker"):
        assert httpx.get(f"{str(flower.base_url).rstrip('/')}{page}").status_code == 401, "nobody gets in without the login"
