"""Tests the HTTP calls between a real worker and a real orchestrator, each in its own process."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.orchestrator_process import Orchestrator
from tests.integration.worker_process import ROOT, Fleet, Worker, eventually, fleet_at, tiny_job
from tests.servers import RedisServer, running
from tests.unit.worker.agent import http_double


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running(lambda folder: RedisServer(folder, append_only=False)) as made:
        yield made


@pytest.fixture
def fleet(server: RedisServer, tmp_path: Path) -> Iterator[Fleet]:
    with fleet_at(server.url, tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def orchestrator(server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orchestrator]:
    """Yield one orchestrator for the module, because it takes seconds to start. Each test has its own device."""
    made = Orchestrator(server.url, tmp_path_factory.mktemp("orchestrator"))
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


@pytest.mark.long
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
    (samples,) = (orchestrator.folder / "outputs").glob(f"{made['campaign_id']}/samples/*.npz")
    assert samples.stat().st_size > 256 * 1024
    eventually(lambda: not list((worker.state / "spool").iterdir()), "what was sent by HTTP goes, too")


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
    clone = fleet.start(
        *("--host", orchestrator.url),
        folder=tmp_path / "other",
        FLEETMARK_HOST=orchestrator.url,
        FLEETMARK_TOKEN="a-token",
        FLEETMARK_HEARTBEAT_TIMEOUT_S="2",
    )
    assert clone.wait() == 2
    assert "identity.json" in clone.log()


def test_a_worker_that_redis_does_not_know_says_so_once_while_the_orchestrator_is_away(fleet: Fleet) -> None:
    with http_double.orchestrator() as double:
        double.register = (200, {"worker_id": "worker-1", "broker_url": fleet.url})  # Redis does not know this worker
        worker = fleet.start(FLEETMARK_HOST=double.url)
        eventually(lambda: "Redis does not know this worker" in worker.log(), "it is told")
        double.register = (503, {"error": "Unavailable", "detail": "the database does not answer"})
        said, asked = worker.log().count("Redis does not know this worker"), len(double.registrations)
        eventually(lambda: len(double.registrations) >= asked + 5, "it tries at each beat")
        assert worker.log().count("Redis does not know this worker") <= said + 1


def test_a_worker_whose_orchestrator_fails_at_first_registers_when_it_does_not(fleet: Fleet) -> None:
    with http_double.orchestrator() as double:
        double.register = (500, {"error": "Internal", "detail": "a defect"})
        worker = fleet.start(FLEETMARK_HOST=double.url)
        eventually(lambda: "is not ready: a defect; trying again until it answers" in worker.log(), "it waits")
        double.register = (200, "<html>back soon</html>")
        eventually(lambda: "not as an orchestrator does" in worker.log(), "it waits on")
        double.register = (200, {"worker_id": "worker-1", "action": "created", "broker_url": fleet.url})
        eventually(lambda: "created as worker-1" in worker.log(), "it registers")
        assert worker.end() == 0


def test_trying_out_a_living_orchestrator_is_well(orchestrator: Orchestrator, tmp_path: Path) -> None:
    environment = {
        **orchestrator.environment,
        "FLEETMARK_REDIS_URL": "",  # the worker asks the orchestrator for this address
        "FLEETMARK_WORKER_STATE_DIR": str(tmp_path / "state"),
        "FLEETMARK_WORKER_CACHE_DIR": str(tmp_path / "cache"),
        "FLEETMARK_WORKER_LOCK_FILE": str(tmp_path / "measure.lock"),
    }
    with orchestrator.client() as client:
        before = client.get("/workers").json()["count"]
    command = [sys.executable, "-m", "worker.cli", "test", "--host", orchestrator.url]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    tried = [line.split(":")[0] for line in done.stdout.splitlines() if "not tried" not in line]
    assert tried == [f"ok      {step}" for step in ("orchestrator", "token", "broker", "measurement on cpu.onnx")]
    assert "measurement on hardware.cpu: not tried" in done.stdout
    with orchestrator.client() as client:
        assert client.get("/workers").json()["count"] == before  # no worker was registered
