"""The broker goes and comes back under a worker; the orchestrator refuses, is away, or takes large files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from shared.protocol import keys
from tests.integration.worker_process import ROOT, Fleet, Worker, eventually, fleet_at, sleeping_job, tiny_job
from tests.servers import RedisServer, free_port, server_folder


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis of its own that a test may stop. It remembers nothing: what comes back is empty."""
    with server_folder() as folder:
        made = RedisServer(folder, append_only=False)
        made.start()
        yield made
        made.stop()


@pytest.fixture
def fleet(server: RedisServer, tmp_path: Path) -> Iterator[Fleet]:
    with fleet_at(server.url, tmp_path) as made:
        yield made


def test_a_worker_waits_for_its_broker_and_starts_when_it_is_there(server: RedisServer, fleet: Fleet, tmp_path: Path) -> None:
    server.stop()
    worker = fleet.start()
    eventually(lambda: "trying again until it answers" in worker.log(), "it says what it waits for")
    server.start()
    fleet.registered(worker)
    job = tiny_job(tmp_path)
    fleet.send(job)
    assert fleet.report("result", job.job_id).status == "complete"


def test_a_worker_that_still_waits_for_its_broker_stops_when_asked(server: RedisServer, fleet: Fleet) -> None:
    server.stop()
    worker = fleet.start()
    eventually(lambda: "trying again" in worker.log(), "it waits")
    assert worker.end() == 0


def test_a_redis_that_lost_its_memory_is_registered_with_again_under_the_same_id(server: RedisServer, fleet: Fleet, tmp_path: Path) -> None:
    worker = fleet.start()
    worker_id = fleet.registered(worker)
    server.stop()
    eventually(lambda: "Redis does not answer" in worker.log(), "the worker notices")
    server.start()
    eventually(lambda: fleet.redis.hexists(keys.WORKERS, worker_id), "it is back under its own id")
    job = tiny_job(tmp_path)
    fleet.send(job)
    assert fleet.report("result", job.job_id).worker_id == worker_id
    assert worker.log().count("Redis does not answer") == 1  # said once, however often it is tried
    assert worker.end() == 0


def test_measuring_goes_on_while_redis_is_away_and_the_result_arrives(server: RedisServer, fleet: Fleet, tmp_path: Path) -> None:
    worker = fleet.start()
    worker_id = fleet.registered(worker)
    job = sleeping_job(tmp_path, 1, inferences=20)
    fleet.send(job)
    fleet.report("started", job.job_id)
    eventually(lambda: "repeat" in fleet.state(worker_id)["stage"], "it measures")
    server.stop()
    eventually(lambda: worker.spooled() == [f"{job.job_id}.1.json"], "the result is on disk")
    server.start()
    result = fleet.report("result", job.job_id)
    assert (result.status, result.summary.inference.n) == ("complete", 20)
    after = tiny_job(tmp_path, number=2)
    fleet.send(after)
    assert fleet.report("result", after.job_id).status == "complete"
    assert [report.kind for report in fleet.reports if report.job_id == job.job_id].count("started") == 1


def test_a_worker_that_cannot_say_goodbye_still_ends_well(server: RedisServer, fleet: Fleet) -> None:
    worker = fleet.start()
    fleet.registered(worker)
    server.stop()
    eventually(lambda: "Redis does not answer" in worker.log(), "the worker notices")
    assert worker.end() == 0
    assert "could not say goodbye" in worker.log()


class Orchestrator:
    """The real control plane, in a process of its own, on SQLite."""

    def __init__(self, redis_url: str, folder: Path) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("FLEETMARK_")},
            "FLEETMARK_REDIS_URL": redis_url,
            "FLEETMARK_DATABASE_URL": f"sqlite:///{folder / 'fleetmark.db'}",
            "FLEETMARK_OUTPUTS_DIR": str(folder / "outputs"),
            "FLEETMARK_MODELS_DIR": str(folder / "models"),
            "FLEETMARK_TOKEN": "a-token",
        }
        self._log = (folder / "orchestrator.log").open("wb")
        command = [sys.executable, "-m", "orchestrator.cli", "serve", "--port", self.url.rpartition(":")[2]]
        self.process = subprocess.Popen(command, env=self.environment, cwd=ROOT, stdout=self._log, stderr=self._log)
        eventually(self._healthy, "the orchestrator answers")

    def _healthy(self) -> bool:
        try:
            return httpx.get(f"{self.url}/api/health").is_success
        except httpx.HTTPError:
            return False

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=f"{self.url}/api", headers={"Authorization": "Bearer a-token"}, timeout=30)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)
        self._log.close()


@pytest.fixture
def orchestrator(server: RedisServer, tmp_path: Path) -> Iterator[Orchestrator]:
    made = Orchestrator(server.url, tmp_path)
    yield made
    made.stop()


def _with_host(fleet: Fleet, orchestrator: Orchestrator, token: str = "a-token") -> Worker:
    return fleet.start("--host", orchestrator.url, FLEETMARK_HOST=orchestrator.url, FLEETMARK_TOKEN=token)


def test_a_worker_needs_only_the_orchestrators_address(fleet: Fleet, orchestrator: Orchestrator, tmp_path: Path) -> None:
    worker = _with_host(fleet, orchestrator)
    worker_id = fleet.registered(worker)
    job = tiny_job(tmp_path)
    campaign = {
        "model_url": job.workload.model.source,
        "jobs": [{"compute_unit": "CPU (ONNX)", "num_inference_runs": 20, "runs_per_job": 2}],
    }
    with orchestrator.client() as client:
        seen = client.get(f"/workers/{worker_id}").json()
        assert (seen["device_name"], seen["status"]) == ("lab pi@3", "active")
        made = client.post("/campaigns", json=campaign).raise_for_status().json()
        job_id = made["jobs"][0]["job_id"]
        done = eventually(
            lambda: (answer := client.get(f"/jobs/{job_id}").json())["job"]["status"] in ("complete", "failed") and answer, "the job ends"
        )
        assert done["job"]["status"] == "complete", done
        eventually(lambda: worker.spooled() == [], "the orchestrator has answered")
        assert worker.end() == 0
        assert client.get(f"/workers/{worker_id}").json()["status"] == "gone"


def test_large_samples_reach_the_orchestrator_by_http(fleet: Fleet, orchestrator: Orchestrator, tmp_path: Path) -> None:
    worker = _with_host(fleet, orchestrator)
    fleet.registered(worker)
    job = tiny_job(tmp_path)
    campaign = {
        "model_url": job.workload.model.source,
        "jobs": [{"compute_unit": "cpu.onnx", "num_inference_runs": 200_000, "runs_per_job": 1}],
    }
    with orchestrator.client() as client:
        made = client.post("/campaigns", json=campaign).raise_for_status().json()
        job_id = made["jobs"][0]["job_id"]
        eventually(lambda: client.get(f"/jobs/{job_id}").json()["job"]["status"] == "complete", "the job is complete")
        eventually(lambda: worker.spooled() == [], "the orchestrator has answered")
    (samples,) = (tmp_path / "outputs").glob(f"{made['campaign_id']}/samples/*.npz")
    assert samples.stat().st_size > 256 * 1024
    assert list((worker.state / "spool").iterdir()) == []


def test_a_wrong_token_is_one_clear_error(fleet: Fleet, orchestrator: Orchestrator) -> None:
    worker = _with_host(fleet, orchestrator, token="wrong")
    assert worker.wait() == 2
    assert "FLEETMARK_TOKEN" in worker.log()
    assert "Traceback" not in worker.log()


def test_the_orchestrator_answers_a_cloned_identity_with_a_conflict(fleet: Fleet, orchestrator: Orchestrator, tmp_path: Path) -> None:
    original = _with_host(fleet, orchestrator)
    fleet.registered(original)
    (tmp_path / "other").mkdir()
    shutil.copytree(original.state, tmp_path / "other" / "state")
    clone = fleet.start("--host", orchestrator.url, folder=tmp_path / "other", FLEETMARK_HOST=orchestrator.url, FLEETMARK_TOKEN="a-token")
    assert clone.wait() == 2
    assert "identity.json" in clone.log()


def test_trying_out_a_living_orchestrator_is_well(orchestrator: Orchestrator, tmp_path: Path) -> None:
    environment = {
        **orchestrator.environment,
        "FLEETMARK_REDIS_URL": "",  # found by way of the orchestrator
        "FLEETMARK_WORKER_STATE_DIR": str(tmp_path / "state"),
        "FLEETMARK_WORKER_CACHE_DIR": str(tmp_path / "cache"),
        "FLEETMARK_WORKER_LOCK_FILE": str(tmp_path / "measure.lock"),
    }
    command = [sys.executable, "-m", "worker.cli", "test", "--host", orchestrator.url]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == [
        f"ok      {step}" for step in ("orchestrator", "token", "broker", "measurement on cpu.onnx")
    ]
    with orchestrator.client() as client:
        assert client.get("/workers").json()["count"] == 0  # nothing was registered
