"""Tests that a device with its own login cannot report for another device, with a real broker, ACL and orchestrator."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from shared.capabilities import RESULTS_QUEUE
from shared.protocol.messages import AttemptLog, Report
from shared.protocol.signatures import sign
from tests.integration.orchestrator_process import Orchestrator
from tests.integration.reports import INCARNATION, artifact, handed_back, result, started
from tests.integration.worker_process import ROOT, Worker, eventually, fleet_at, tiny_job
from tests.servers import RedisServer, server_folder


@dataclass
class Device:
    """Represents an enrolled device that sends the reports that a test gives to it."""

    worker_id: str
    key: str
    broker: redis.Redis

    def say(self, report: Report, key: str | None = None) -> None:
        """Put a report into the results queue. It is signed with the device's own key by default, and not signed if `key` is `""`."""
        body = report.model_dump_json().encode()
        key = self.key if key is None else key
        headers = {"mac": sign(key, body)} if key else {}
        envelope = {"body": base64.b64encode(body).decode(), "headers": headers, "properties": {"body_encoding": "base64"}}
        self.broker.lpush(RESULTS_QUEUE, json.dumps(envelope))


@pytest.fixture(scope="module")
def orchestrator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orchestrator]:
    folder = tmp_path_factory.mktemp("orchestrator")
    passwords = {"FLEETMARK_ORCHESTRATOR_REDIS_PASSWORD": "one", "FLEETMARK_FLOWER_REDIS_PASSWORD": "two"}
    command = [sys.executable, "-m", "cli.main", "redis-acl"]
    users = folder / "users.acl"
    users.write_bytes(subprocess.run(command, env={**os.environ, **passwords}, cwd=ROOT, capture_output=True, check=True).stdout)
    with server_folder() as place:
        server = RedisServer(place, append_only=False, options=["--aclfile", str(users)])
        server.start()
        made = Orchestrator(f"redis://fleetmark-orchestrator:one@{server.place}/0", folder / "run", FLEETMARK_BROKER_LOGINS="true")
        yield made
        made.stop()
        server.stop()


@pytest.fixture
def client(orchestrator: Orchestrator) -> Iterator[httpx.Client]:
    with orchestrator.client() as made:
        yield made


def enrol(client: httpx.Client, name: str) -> Device:
    device = {"device_name": name, "capabilities": ["cpu.onnx"], "device_info": {"UDID": name}}
    told: dict[str, Any] = client.post("/register", json=device).raise_for_status().json()
    return Device(told["worker_id"], told.get("report_key") or "", redis.Redis.from_url(told["broker_url"]))


@pytest.fixture
def honest(client: httpx.Client) -> Iterator[Device]:
    made = enrol(client, "honest")
    yield made
    made.broker.close()


@pytest.fixture
def mallory(client: httpx.Client) -> Iterator[Device]:
    made = enrol(client, "mallory")
    yield made
    made.broker.close()


def submitted(client: httpx.Client, model: str = "https://models.example/m.onnx", **more: Any) -> str:
    """Submit a job, and return its id."""
    body = {"model_url": model, "jobs": [{"compute_unit": "cpu.onnx", **more}]}
    return str(client.post("/campaigns", json=body).raise_for_status().json()["jobs"][0]["job_id"])


def job(client: httpx.Client, name: str) -> tuple[str, int, str | None]:
    found = client.get(f"/jobs/{name}").raise_for_status().json()["job"]
    return found["status"], found["attempt"], found["worker_id"]


def buried(client: httpx.Client) -> int:
    return int(client.get("/queue/status").raise_for_status().json()["dead_letters"])


FORGERIES = ("unsigned", "signed with its own key", "in its own name")


@pytest.mark.parametrize("how", FORGERIES)
@pytest.mark.parametrize("what", ["result", "failure", "hand back", "log"])
def test_a_worker_cannot_report_for_another(client: httpx.Client, honest: Device, mallory: Device, what: str, how: str) -> None:
    name, before = submitted(client), buried(client)
    honest.say(started(name, worker_id=honest.worker_id))
    eventually(lambda: job(client, name) == ("running", 1, honest.worker_id), "it runs")
    log = AttemptLog(job_id=name, attempt=1, worker_id="worker-a", incarnation=INCARNATION, log=artifact(b'{"message": "forged"}\n'))
    forged: dict[str, Report] = {
        "result": result(name),
        "failure": result(name, status="failed", error="forged", error_kind="model_invalid"),
        "hand back": handed_back(name),
        "log": log,
    }
    speaker = mallory if how == "in its own name" else honest
    mallory.say(forged[what].model_copy(update={"worker_id": speaker.worker_id}), "" if how == "unsigned" else None)
    eventually(lambda: buried(client) == before + 1, "it lies among the dead letters")
    reason = client.get("/queue/status").json()["latest_dead_letters"][0]["reason"]
    assert honest.worker_id in reason
    assert job(client, name) == ("running", 1, honest.worker_id)
    honest.say(result(name, worker_id=honest.worker_id))
    eventually(lambda: job(client, name) == ("complete", 1, honest.worker_id), "the true result counts")
    assert buried(client) == before + 1


@contextmanager
def standing_still(orchestrator: Orchestrator) -> Iterator[None]:
    orchestrator.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        orchestrator.process.send_signal(signal.SIGCONT)


@pytest.mark.long
def test_what_waits_while_its_worker_enrols_again_counts(client: httpx.Client, orchestrator: Orchestrator, tmp_path: Path) -> None:
    """The reports are a result in the spool of a worker that was killed, and a hand-back in the queue of a worker that was stopped."""
    before = buried(client)
    model = tiny_job(tmp_path).workload.model.source
    with fleet_at(orchestrator.environment["FLEETMARK_REDIS_URL"], tmp_path) as fleet:

        def start() -> Worker:
            return fleet.start(FLEETMARK_HOST=orchestrator.url, FLEETMARK_TOKEN="a-token")

        worker = start()
        worker_id = fleet.registered(worker)
        first = submitted(client, model, num_inference_runs=20, runs_per_job=10)
        eventually(lambda: job(client, first) == ("running", 1, worker_id), "it runs")
        with standing_still(orchestrator):
            eventually(worker.spooled, "its result is on its disk")
            worker.process.kill()
            worker.wait()
            worker = start()
        eventually(lambda: job(client, first) == ("complete", 1, worker_id), "its result is recorded")
        fleet.registered(worker)
        second = submitted(client, model, num_inference_runs=20, runs_per_job=50)
        eventually(lambda: job(client, second) == ("running", 1, worker_id), "the next one runs")
        with standing_still(orchestrator):
            assert worker.end() == 0
            assert fleet.redis.llen(RESULTS_QUEUE) > 0
            worker = start()
        fleet.registered(worker)  # a worker ends in order only after it has registered
        eventually(lambda: job(client, second)[1] == 2, "it is handed back")
        timeline = client.get(f"/jobs/{second}").json()["job"]["timeline"]
        assert "handed_back" in [event["kind"] for event in timeline], timeline
        client.post(f"/jobs/{second}/cancel").raise_for_status()
        eventually(lambda: worker.spooled() == [], "everything is answered")
        assert worker.end() == 0
    assert buried(client) == before


def test_a_worker_token_opens_no_device_but_its_own(client: httpx.Client, orchestrator: Orchestrator) -> None:
    made = [client.post("/tokens", json={"name": name, "role": "worker"}).raise_for_status().json() for name in ("pi", "mallory")]
    mine, other = ({"Authorization": f"Bearer {token['secret']}"} for token in made)
    device = {"device_name": "pi", "capabilities": ["cpu.onnx"], "device_info": {"UDID": "pi-5"}, "incarnation": "first"}
    told = client.post("/register", json=device, headers=mine).raise_for_status().json()
    refused = client.post("/register", json=device | {"incarnation": "", "device_name": "mine now"}, headers=other)
    assert (refused.status_code, refused.json()["error"]) == (403, "Forbidden")
    assert client.get(f"/workers/{told['worker_id']}").json()["device_name"] == "pi"
    with redis.Redis.from_url(told["broker_url"]) as broker:
        assert broker.ping(), "its login is still good"
    assert client.post("/register", json=device, headers=mine).raise_for_status().json()["report_key"] == told["report_key"]
