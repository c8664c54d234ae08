"""Tests encrypted connections with certificates of a private authority: https to the orchestrator, rediss to the broker."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from kombu.exceptions import OperationalError

from shared.celery_app import make_celery_app
from shared.tls import broker_trusting
from tests.integration.flower_process import flower_on
from tests.integration.orchestrator_process import Orchestrator
from tests.integration.worker_process import ROOT, Fleet, Worker, eventually, fleet_at, tiny_job
from tests.servers import RedisServer, server_folder
from tests.tls import Authority, tls_in_front_of

PASSWORD = "admins-only"


@dataclass
class Lab:
    """Holds a control plane that can only be reached by TLS. The broker of its worker is behind `broker_port`."""

    authority: Authority
    stranger: Authority
    server: RedisServer
    broker_port: int
    orchestrator: Orchestrator

    @property
    def broker(self) -> str:
        return f"rediss://:{PASSWORD}@127.0.0.1:{self.broker_port}/0"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    authority, stranger = Authority(folder / "authority"), Authority(folder / "stranger")
    with server_folder() as redis_folder:
        server = RedisServer(redis_folder, append_only=False, password=PASSWORD)
        server.start()
        with tls_in_front_of(server.port, authority) as port:
            orchestrator = Orchestrator(
                f"rediss://:{PASSWORD}@127.0.0.1:{port}/0",
                folder / "orchestrator",
                ca_file=authority.ca_file,
                FLEETMARK_CA_FILE=str(authority.ca_file),
                FLEETMARK_TLS_CERT=str(authority.cert_file),
                FLEETMARK_TLS_KEY=str(authority.key_file),
                FLEETMARK_BROKER_LOGINS="true",
            )
            yield Lab(authority, stranger, server, port, orchestrator)
            orchestrator.stop()
        server.stop()


@pytest.fixture
def fleet(lab: Lab, tmp_path: Path) -> Iterator[Fleet]:
    with fleet_at(lab.server.url, tmp_path) as made:
        yield made


def _start(fleet: Fleet, lab: Lab, ca_file: Path | None, broker: str = "") -> Worker:
    """Start a worker that trusts the authority in `ca_file`, or none. It gets its broker from the orchestrator unless one is given."""
    return fleet.start(
        FLEETMARK_HOST=lab.orchestrator.url,
        FLEETMARK_TOKEN="a-token",
        FLEETMARK_CA_FILE=str(ca_file or ""),
        FLEETMARK_REDIS_URL=broker,
    )


def test_a_job_goes_all_its_way_encrypted(fleet: Fleet, lab: Lab, tmp_path: Path) -> None:
    worker = _start(fleet, lab, lab.authority.ca_file)
    worker_id = fleet.registered(worker)
    with lab.orchestrator.client() as client:
        uploaded = tiny_job(tmp_path).workload.model.source.removeprefix("file://")
        model = client.post("/models", params={"name": "tiny.onnx"}, content=Path(uploaded).read_bytes()).raise_for_status().json()
        job = {"compute_unit": "cpu.onnx", "num_inference_runs": 50_000, "runs_per_job": 1}
        made = client.post("/campaigns", json={"model_url": f"sha256:{model['sha256']}", "jobs": [job]}).raise_for_status().json()
        job_id = made["jobs"][0]["job_id"]
        eventually(lambda: client.get(f"/jobs/{job_id}").json()["job"]["status"] in ("complete", "failed"), "the job ends")
        done = client.get(f"/jobs/{job_id}").json()["job"]
        assert done["status"] == "complete", done
        assert client.get("/health").json()["redis"]["tls"] is True
    eventually(lambda: worker.spooled() == [], "the orchestrator has answered")
    with flower_on(lab.broker, tmp_path, FLEETMARK_CA_FILE=str(lab.authority.ca_file)) as flower:

        def shown() -> bool:
            answer = flower.get("/api/workers", params={"refresh": "1"})
            return bool(answer.is_success and answer.json().get(f"lab-pi-3@{worker_id}", {}).get("active_queues"))

        eventually(shown, "Flower sees the worker")
        assert flower.get("/broker").is_success
    assert f"fleetmark-{worker_id}" in {connection["user"] for connection in fleet.redis.client_list()}
    assert worker.end() == 0


@pytest.mark.parametrize("believes", ["a stranger", "the public authorities"])
def test_an_orchestrator_with_an_untrusted_certificate_is_one_clear_error(fleet: Fleet, lab: Lab, believes: str) -> None:
    worker = _start(fleet, lab, lab.stranger.ca_file if believes == "a stranger" else None)
    assert worker.wait() == 2
    assert f"the certificate of {lab.orchestrator.url} is not trusted" in worker.log()
    assert "FLEETMARK_CA_FILE" in worker.log()
    assert "Traceback" not in worker.log()


def test_a_broker_with_an_untrusted_certificate_is_one_clear_error(fleet: Fleet, lab: Lab) -> None:
    with tls_in_front_of(lab.server.port, lab.stranger) as port:
        worker = _start(fleet, lab, lab.authority.ca_file, f"rediss://127.0.0.1:{port}/0")
        assert worker.wait() == 2
    assert "the broker's certificate is not trusted" in worker.log()
    assert "FLEETMARK_CA_FILE" in worker.log()
    assert "Traceback" not in worker.log()


def test_an_address_given_by_hand_gets_the_login_of_the_enrolment(fleet: Fleet, lab: Lab) -> None:
    worker = _start(fleet, lab, lab.authority.ca_file, f"rediss://localhost:{lab.broker_port}/0")
    worker_id = fleet.registered(worker)
    eventually(
        lambda: f"fleetmark-{worker_id}" in {connection["user"] for connection in fleet.redis.client_list()}, "it is there as itself"
    )
    assert worker.end() == 0


def test_celery_checks_the_brokers_certificate_without_being_told(lab: Lab) -> None:
    """By itself, kombu encrypts connections to `rediss://` but accepts any certificate."""
    for app, believed in [
        (make_celery_app(lab.broker), False),
        (make_celery_app(broker_trusting(lab.broker, lab.authority.ca_file)), True),
    ]:
        with app.connection_for_write() as connection:
            if believed:
                connection.default_channel.client.ping()
            else:
                with pytest.raises((redis.ConnectionError, OperationalError), match="CERTIFICATE_VERIFY_FAILED"):
                    connection.default_channel.client.ping()
        app.close()


def _run(lab: Lab, ca_file: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("FLEETMARK_")},
        "FLEETMARK_HOST": lab.orchestrator.url,
        "FLEETMARK_TOKEN": "a-token",
        "FLEETMARK_CA_FILE": str(ca_file),
    }
    return subprocess.run([sys.executable, "-m", *command], env=environment, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_command_line_trusts_the_configured_authority(lab: Lab) -> None:
    assert _run(lab, lab.authority.ca_file, "cli.main", "workers", "--json").returncode == 0
    refused = _run(lab, lab.stranger.ca_file, "cli.main", "workers")
    assert refused.returncode == 3
    assert "is not trusted" in refused.stderr
    assert "FLEETMARK_CA_FILE" in refused.stderr


def test_redis_acl_trusts_the_configured_authority(lab: Lab) -> None:
    assert _run(lab, lab.authority.ca_file, "cli.main", "redis-acl", "--apply", "--redis-url", lab.broker).returncode == 0
    refused = _run(lab, lab.stranger.ca_file, "cli.main", "redis-acl", "--apply", "--redis-url", lab.broker)
    assert refused.returncode == 3
    assert "is not trusted" in refused.stderr
    assert PASSWORD not in refused.stderr


def test_worker_test_trusts_the_configured_authority(lab: Lab) -> None:
    tried = _run(lab, lab.authority.ca_file, "worker.cli", "test")
    assert [line.split(":")[0] for line in tried.stdout.splitlines()][:3] == [
        f"ok      {step}" for step in ("orchestrator", "token", "broker")
    ]
    refused = _run(lab, lab.stranger.ca_file, "worker.cli", "test")
    assert refused.returncode == 3
    assert refused.stdout.count("is not trusted") == 1


def test_a_certificate_without_its_key_is_refused_at_the_start(lab: Lab) -> None:
    command = [sys.executable, "-m", "orchestrator.cli", "serve", "--tls-cert", str(lab.authority.cert_file)]
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "FLEETMARK_TLS_KEY: goes together with FLEETMARK_TLS_CERT" in " ".join(refused.stderr.split())
