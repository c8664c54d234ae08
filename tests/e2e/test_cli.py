"""Tests the commands with real parts. All tests share one `fleetmark up`."""

from __future__ import annotations

import json
import secrets
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from tests.command_line import Ended, fleetmark
from tests.e2e.processes import LONG_RECIPE, SMALL_RECIPE, Command, wait_until
from tests.servers import free_port
from tests.tls import Authority

pytestmark = pytest.mark.timeout(900)  # on a busy machine, a measurement may have to wait for a long time


@dataclass
class Fleet:
    folder: Path
    url: str
    up: Command

    def run(self, *arguments: str, code: int = 0) -> Ended:
        ended = fleetmark(*arguments, host=self.url, folder=self.folder)
        assert ended.returncode == code, ended.stderr + ended.stdout
        return ended

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json").stdout)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder, port = tmp_path_factory.mktemp("fleet"), free_port()
    (folder / "small.yaml").write_text(SMALL_RECIPE)
    (folder / "long.yaml").write_text(LONG_RECIPE)
    up = Command(folder, "up", "--port", str(port))
    try:
        wait_until(lambda: "Fleetmark is up" in up.out(), up)
        yield Fleet(folder, f"http://127.0.0.1:{port}", up)
        up.process.send_signal(signal.SIGTERM)
        assert up.wait(60) == 0, up.err()
        up.assert_leaves_nothing(2)
    finally:
        up.end()


@pytest.fixture(scope="module")
def campaign_id(fleet: Fleet) -> str:
    command = Command(fleet.folder, "run", "small.yaml", "--watch", "--json", FLEETMARK_HOST=fleet.url)
    assert command.wait() == 0, command.err() + command.out()
    followed = json.loads(command.out())
    assert followed["campaign"]["status"] == "completed"
    assert followed["results"][0]["Status"] == "Complete"
    return str(followed["campaign"]["campaign_id"])


def test_a_campaign_is_listed_and_shown(fleet: Fleet, campaign_id: str) -> None:
    assert campaign_id in [campaign["campaign_id"] for campaign in fleet.json("list")]
    shown = fleet.run("show", campaign_id).stdout
    assert f"{campaign_id}-job-1" in shown
    assert "squeezenet.onnx" in shown


def test_its_results_are_a_table_a_file_and_json(fleet: Fleet, campaign_id: str) -> None:
    assert "squeezenet.onnx" in fleet.run("results", campaign_id).stdout
    fleet.run("results", campaign_id, "-o", "results.csv")
    header, row = (fleet.folder / "results.csv").read_text().splitlines()
    assert header.startswith("Status,JobId,FileName,")
    assert row.startswith("Complete,")
    fleet.run("results", campaign_id, "-o", "results.parquet")
    assert (fleet.folder / "results.parquet").read_bytes()[:4] == b"PAR1"
    lines = fleet.run("results", campaign_id, "--format", "jsonl").stdout.splitlines()
    assert json.loads(lines[0])["JobId"] == f"{campaign_id}-job-1"


def test_watching_a_campaign_that_has_ended_shows_its_results(fleet: Fleet, campaign_id: str) -> None:
    assert "squeezenet.onnx" in fleet.run("watch", campaign_id).stdout


def test_the_second_submission_uploads_nothing_and_can_be_compared_with_the_first(fleet: Fleet, campaign_id: str) -> None:
    again = fleet.run("run", "small.yaml")
    assert "Uploading" not in again.stderr
    started = again.stdout.partition(":")[0]
    assert started != campaign_id
    fleet.run("watch", started)
    compared = fleet.run("compare", campaign_id, started, code=4)
    assert compared.stdout.startswith("INCONCLUSIVE: 1 of 1 pair cannot be decided; the first: ")
    assert "2 and 2 repeats are too few" in compared.stdout
    assert "not comparable" not in compared.stdout, "two runs of one recipe have every fact in common"
    assert "is also the baseline" in fleet.run("compare", started, started, code=2).stderr


def test_workers_queues_and_jobs_are_shown(fleet: Fleet, campaign_id: str) -> None:
    workers = fleet.json("workers")
    assert len(workers) == 1
    assert "cpu.onnx" in workers[0]["capabilities"]
    assert workers[0]["device_name"] in fleet.run("workers").stdout
    assert "CPU (ONNX)" in fleet.run("queues").stdout
    jobs = fleet.json("jobs", "--campaign", campaign_id)
    assert [job["status"] for job in jobs] == ["complete"]
    assert jobs[0]["job_id"] in fleet.run("jobs", "--campaign", campaign_id).stdout


def test_a_running_campaign_is_stopped(fleet: Fleet) -> None:
    campaign_id = json.loads(fleet.run("run", "long.yaml", "--json").stdout)["campaign_id"]
    wait_until(lambda: fleet.json("show", campaign_id)["job_breakdown"]["running"] == 1, fleet.up)
    assert "cancelled" in fleet.run("stop", campaign_id).stdout
    assert fleet.json("show", campaign_id)["status"] == "cancelled"
    assert "cancelled" in fleet.run("stop", campaign_id).stdout  # a second request changes nothing
    wait_until(lambda: fleet.json("workers")[0]["status"] == "active", fleet.up)


def test_what_does_not_exist_is_exit_code_2_with_the_apis_words(fleet: Fleet) -> None:
    command = fleet.run("show", "campaign-" + "0" * 18, code=2)
    assert "campaign-" in command.stderr
    assert "Traceback" not in command.stderr


def test_the_doctor_sees_the_fleet(fleet: Fleet) -> None:
    findings = {finding["what"]: finding for finding in fleet.json("doctor")}
    assert findings["orchestrator"]["verdict"] == "ok"
    assert findings["workers"]["verdict"] == "ok"


def test_a_second_stack_is_refused_in_one_sentence(fleet: Fleet, tmp_path: Path) -> None:
    port = fleet.url.rpartition(":")[2]
    elsewhere = Command(tmp_path, "up", "--port", port)
    assert elsewhere.wait() == 1
    assert "--port" in elsewhere.err()
    same_folder = Command(fleet.folder, "up", "--port", str(free_port()))
    assert same_folder.wait() == 1
    assert "in use by another" in same_folder.err()
    elsewhere.assert_leaves_nothing(2)


def test_flower_finds_the_broker_and_shows_the_worker(fleet: Fleet) -> None:
    port = free_port()
    flower = Command(fleet.folder, "flower", "--port", str(port), FLOWER_UNAUTHENTICATED_API="true")
    try:

        def workers() -> dict[str, Any]:
            try:
                return dict(httpx.get(f"http://127.0.0.1:{port}/api/workers", params={"refresh": "1"}, timeout=20, verify=False).json())
            except httpx.TransportError:
                return {}

        wait_until(workers, flower)
        (described,) = workers().values()
        assert "cpu.onnx" in [queue["name"] for queue in described["active_queues"]]
    finally:
        flower.process.send_signal(signal.SIGTERM)
        flower.wait(30)
    flower.assert_leaves_nothing()


def test_up_with_a_token_gives_its_worker_a_login_of_its_own_and_serves_https(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    settings = {
        "FLEETMARK_TLS_CERT": str(authority.cert_file),
        "FLEETMARK_TLS_KEY": str(authority.key_file),
        "FLEETMARK_CA_FILE": str(authority.ca_file),
        "FLEETMARK_TOKEN": secrets.token_hex(24),
    }
    port = free_port()
    up = Command(tmp_path, "up", "--bind", "127.0.0.2", "--port", str(port), **settings)
    try:
        wait_until(lambda: "Fleetmark is up" in up.out(), up)
        assert f"https://127.0.0.2:{port}" in up.out()
        workers = Command(tmp_path, "workers", "--json", FLEETMARK_HOST=f"https://127.0.0.2:{port}", **settings)
        assert workers.wait() == 0, workers.err()
        (worker,) = json.loads(workers.out())
        with redis.Redis.from_url(json.loads((tmp_path / ".fleetmark" / "running.json").read_text())["redis_url"]) as client:

            def logins() -> set[str]:
                return {one["user"] for one in client.client_list() if one["user"].startswith("fleetmark-worker-")}

            wait_until(lambda: f"fleetmark-{worker['worker_id']}" in logins(), up, 60)
            folders = {f"FLEETMARK_WORKER_{name}_DIR": str(tmp_path / "second" / name) for name in ("STATE", "CACHE")}
            start = ("worker", "start", "--host", f"https://127.0.0.2:{port}", "--http-port", "0")
            second = Command(tmp_path, *start, **(settings | folders))
            wait_until(lambda: len(logins()) == 2, second)
            second.end()
            broker = client.connection_pool.connection_kwargs
        with redis.Redis(broker["host"], broker["port"]) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
        for command in (("redis-acl", "--apply"), ("doctor",)):  # these commands find the address in the same data directory
            ended = Command(tmp_path, *command, FLEETMARK_HOST=f"https://127.0.0.2:{port}", **settings)
            assert ended.wait() == 0, ended.err() + ended.out()
        files = [path for path in (tmp_path / ".fleetmark").rglob("*") if path.is_file() and path.name != "lock"]
        assert {"fleetmark.db", "orchestrator.log", "running.json"} <= {path.name for path in files}
        assert [path for path in files if path.stat().st_mode & 0o077] == []
        up.process.send_signal(signal.SIGTERM)
        assert up.wait(60) == 0, up.err()
        up.assert_leaves_nothing(2)
    finally:
        up.end()
