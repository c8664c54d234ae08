"""Tests that each part with its own Redis login can do its work and nothing else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
import yaml

from cli.servers import find_redis_server
from shared.ids import worker_id_of
from shared.protocol import keys
from shared.protocol.logins import flower_rules, orchestrator_rules, password_rule, setuser, worker_rules
from tests.integration.flower_process import flower_on
from tests.integration.orchestrator_process import Orchestrator
from tests.integration.worker_process import ROOT, Fleet, Worker, eventually, fleet_at, tiny_job
from tests.servers import RedisServer, free_port, running, server_folder

ADMIN = "admins-only"
OTHER = "worker-00000000other"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running(lambda folder: RedisServer(folder, append_only=False, password=ADMIN)) as made:
        yield made


def _redis_acl(server: RedisServer, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "FLEETMARK_REDIS_URL": server.url}
    command = [sys.executable, "-m", "cli.main", "redis-acl", *options]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def addresses(server: RedisServer) -> list[str]:
    """Return the addresses of the broker for the orchestrator and for Flower, as the command prints them."""
    made = _redis_acl(server, "--apply")
    assert made.returncode == 0, made.stderr
    assert "gone when Redis ends" in made.stderr  # this server has no ACL file in which it could keep the logins
    assert made.stdout == ""
    return re.findall(r"^FLEETMARK_REDIS_URL=(\S+)$", made.stderr, re.MULTILINE)


@pytest.fixture(scope="module")
def orchestrator(addresses: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orchestrator]:
    made = Orchestrator(
        addresses[0], tmp_path_factory.mktemp("orchestrator"), FLEETMARK_BROKER_LOGINS="true", FLEETMARK_HEARTBEAT_TIMEOUT_S="8"
    )
    yield made
    made.stop()


@pytest.fixture
def fleet(server: RedisServer, tmp_path: Path) -> Iterator[Fleet]:
    with fleet_at(server.url, tmp_path) as made:
        made.redis.execute_command("ACL LOG", "RESET")  # type: ignore[no-untyped-call]
        yield made


def _start(fleet: Fleet, orchestrator: Orchestrator) -> Worker:
    return fleet.start(FLEETMARK_HOST=orchestrator.url, FLEETMARK_TOKEN="a-token")


def _refused(fleet: Fleet) -> list[str]:
    entries: list[dict[str, Any]] = fleet.redis.acl_log()
    return [f"{entry['username']}: {entry['reason']} {entry['object']} in {entry['context']}" for entry in entries]


def _submit(client: httpx.Client, folder: Path, jobs: int = 1, inferences: int = 20, repeats: int = 1) -> dict[str, Any]:
    job = {"compute_unit": "cpu.onnx", "num_inference_runs": inferences, "runs_per_job": repeats}
    body = {"model_url": tiny_job(folder).workload.model.source, "jobs": [job] * jobs}
    made: dict[str, Any] = client.post("/campaigns", json=body).raise_for_status().json()
    return made


def _submit_long(client: httpx.Client, folder: Path, repeats: int = 30) -> str:
    """Submit a job that takes some seconds, and return its id."""
    return str(_submit(client, folder, inferences=100_000, repeats=repeats)["jobs"][0]["job_id"])


def _run_campaign(orchestrator: Orchestrator, folder: Path, jobs: int = 1) -> str:
    """Run a campaign to its end, and return its id."""
    with orchestrator.client() as client:
        campaign_id = str(_submit(client, folder, jobs)["campaign_id"])

        def ended() -> dict[str, Any] | None:
            found: dict[str, Any] = client.get(f"/campaigns/{campaign_id}").json()
            return found if found["status"] == "completed" else None

        done = eventually(ended, "the campaign ends")
        assert done["completed_jobs"] == jobs, done
    return campaign_id


def test_each_part_does_all_of_its_work_and_is_refused_nothing(
    fleet: Fleet, orchestrator: Orchestrator, addresses: list[str], tmp_path: Path
) -> None:
    worker = _start(fleet, orchestrator)
    worker_id = fleet.registered(worker)
    with flower_on(addresses[1], tmp_path) as flower:
        nodename = f"lab-pi-3@{worker_id}"

        def shown() -> bool:
            answer = flower.get("/api/workers", params={"refresh": "1"})
            return bool(answer.is_success and answer.json().get(nodename, {}).get("active_queues"))

        eventually(shown, "Flower sees the worker and its queues")
        campaign = _run_campaign(orchestrator, tmp_path, jobs=3)

        def done() -> bool:
            tasks = flower.get("/api/tasks").json()
            return any(task["state"] == "SUCCESS" and name.startswith(campaign) for name, task in tasks.items())

        eventually(done, "Flower sees a task succeed")
        assert flower.get("/broker").is_success
    fleet.app.send_task("no.such.task", queue="cpu.onnx")
    eventually(lambda: fleet.redis.llen(keys.DEAD_LETTERS) == 1, "what cannot be read is kept")
    eventually(lambda: worker.spooled() == [] and fleet.unacknowledged() == 0, "everything is answered and acknowledged")
    with orchestrator.client() as client:
        job_id = _submit_long(client, tmp_path)
        eventually(lambda: "repeat" in fleet.state(worker_id)["stage"], "a long job runs")
        assert worker.end() == 0
        assert fleet.state(worker_id)["status"] == "gone"
        eventually(lambda: client.get(f"/jobs/{job_id}").json()["job"]["attempt"] == 2, "it is handed back")
        for path in ("/workers", "/queue/status", "/monitoring/stats", "/health/workers"):
            client.get(path).raise_for_status()
        assert client.post("/reset", json={"confirm": True}).raise_for_status().json()["workers_cleared"]
    assert _refused(fleet) == []


@pytest.fixture
def login(orchestrator: Orchestrator, server: RedisServer) -> Iterator[redis.Redis]:
    """Yield a client with the login of a device, which may then send any command."""
    with redis.Redis.from_url(_enrol(orchestrator)["broker_url"], decode_responses=True) as client:
        yield client


def _enrol(orchestrator: Orchestrator, udid: str = "mallory") -> dict[str, Any]:
    device = {"device_name": udid, "capabilities": ["cpu.onnx"], "device_info": {"UDID": udid}}
    with orchestrator.client() as client:
        told: dict[str, Any] = client.post("/register", json=device).raise_for_status().json()
    return told


MINE = worker_id_of("mallory")
FORBIDDEN = {
    "read what others report": ["LRANGE", "results", "0", "-1"],
    "take what others report": ["BRPOP", "results", "1"],
    "drop what others report": ["DEL", "results"],
    "move what others report": ["LMOVE", "results", f"worker.{MINE}", "RIGHT", "LEFT"],
    "give other workers work": ["LPUSH", "cpu.onnx", "{}"],
    "give other workers work by priority": ["LPUSH", "cpu.onnx\x06\x163", "{}"],
    "give one worker work": ["LPUSH", f"worker.{OTHER}", "{}"],
    "take another's own work": ["BRPOP", f"worker.{OTHER}", "1"],
    "take work of what it cannot do": ["BRPOP", "gpu.cuda.onnx", "1"],
    "look into queues": ["LRANGE", "cpu.onnx", "0", "-1"],
    "empty queues": ["DEL", "cpu.onnx"],
    "drop another's message in hand": ["DEL", f"unacked:{OTHER}"],
    "speak for another worker": ["HSET", f"fleetmark:worker:{OTHER}", "status", "gone"],
    "read another's metrics at once": ["HGETALL", f"fleetmark:worker:{OTHER}"],
    "read other devices' registrations": ["HGETALL", "fleetmark:workers"],
    "read one registration": ["HGET", "fleetmark:workers", OTHER],
    "register by itself": ["HSET", "fleetmark:workers", OTHER, "{}"],
    "take an identity": ["HSET", "fleetmark:identities", "udid", MINE],
    "read identities": ["HGETALL", "fleetmark:identities"],
    "read another's answers": ["HGETALL", f"fleetmark:answers:{OTHER}"],
    "end jobs": ["SET", "fleetmark:ended:campaign-000000000000000000-job-1", "1"],
    "revive jobs": ["DEL", "fleetmark:ended:campaign-000000000000000000-job-1"],
    "lead": ["SET", "fleetmark:leader", "me"],
    "change the counters": ["HINCRBY", "fleetmark:monitor", "sweeps", "1"],
    "read dead letters": ["LRANGE", "fleetmark:dead_letters", "0", "-1"],
    "list keys": ["KEYS", "*"],
    "walk over keys": ["SCAN", "0"],
    "command workers": ["PUBLISH", "/0.celery.pidbox", "{}"],
    "listen to events": ["PSUBSCRIBE", "/0.celeryev/*"],
    "listen to everything": ["PSUBSCRIBE", "*"],
    "redirect answers": ["SADD", "_kombu.binding.reply.celery.pidbox", "x"],
    "make logins": ["ACL", "SETUSER", "me", "on", "nopass", "~*", "+@all"],
    "list logins": ["ACL", "LIST"],
    "watch the server": ["MONITOR"],
    "see connections": ["CLIENT", "LIST"],
    "end connections": ["CLIENT", "KILL", "TYPE", "normal"],
    "hear the name of every key that changes": ["CLIENT", "TRACKING", "ON", "BCAST"],
    "hear it of the keys it reads": ["CLIENT", "CACHING", "YES"],
    "go to another database": ["SELECT", "1"],
    "stop the world": ["CLIENT", "PAUSE", "1000"],
    "configure the server": ["CONFIG", "GET", "requirepass"],
    "empty the database": ["FLUSHALL"],
    "end the server": ["SHUTDOWN", "NOSAVE"],
    "copy the database": ["REPLICAOF", "127.0.0.1", "1"],
    "forget scripts": ["SCRIPT", "FLUSH"],
}


@pytest.mark.parametrize("command", FORBIDDEN.values(), ids=FORBIDDEN)
def test_a_worker_cannot(login: redis.Redis, command: list[str]) -> None:
    with pytest.raises(redis.exceptions.NoPermissionError):
        login.execute_command(*command)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("command", [FORBIDDEN[name] for name in ("read what others report", "give other workers work", "lead")])
def test_a_script_gives_a_worker_no_further_rights(login: redis.Redis, command: list[str]) -> None:
    script = login.register_script("return redis.call(unpack(ARGV))")
    with pytest.raises(redis.exceptions.ResponseError, match=r"(?i)no permission|can't access|can't run"):
        script(args=command)


@pytest.mark.parametrize(
    "rules", [worker_rules(OTHER, ["cpu.onnx"], 3), orchestrator_rules(3), flower_rules(3)], ids=["worker", "orchestrator", "flower"]
)
def test_a_login_of_another_database_goes_there_and_nowhere_else(server: RedisServer, rules: list[str]) -> None:
    with redis.Redis.from_url(server.url) as admin:
        admin.execute_command("ACL SETUSER", *setuser("elsewhere", password_rule("secret"), rules))
        admin.acl_log_reset()
        with redis.Redis.from_url(f"redis://elsewhere:secret@{server.place}/3") as client:
            assert client.ping()
            assert admin.acl_log() == []
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command("SELECT", "1")
        admin.acl_deluser("elsewhere")


def test_enrolling_again_ends_the_password_before(orchestrator: Orchestrator) -> None:
    first, second = (_enrol(orchestrator, "twice")["broker_url"] for _ in range(2))
    with redis.Redis.from_url(second) as client:
        assert client.ping()
    with redis.Redis.from_url(first) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_a_worker_that_is_removed_has_no_login_and_its_job_goes_back(fleet: Fleet, orchestrator: Orchestrator, tmp_path: Path) -> None:
    worker = _start(fleet, orchestrator)
    worker_id = fleet.registered(worker)
    with orchestrator.client() as client:
        job_id = _submit_long(client, tmp_path)
        eventually(lambda: client.get(f"/jobs/{job_id}").json()["job"]["status"] == "running", "the job runs")
        worker.process.kill()
        worker.wait()
        assert client.delete(f"/workers/{worker_id}").raise_for_status().json() == {"worker_id": worker_id, "status": "gone"}
        job = client.get(f"/jobs/{job_id}").json()["job"]
        assert (job["status"], job["attempt"]) == ("pending", 2)
        assert client.delete("/workers/worker-nobody").status_code == 404
        client.post(f"/jobs/{job_id}/cancel").raise_for_status()
    assert fleet.redis.acl_getuser(f"fleetmark-{worker_id}") is None


@pytest.mark.long
def test_the_watch_deals_with_a_dead_worker_by_its_own_login(fleet: Fleet, orchestrator: Orchestrator, tmp_path: Path) -> None:
    worker = _start(fleet, orchestrator)
    worker_id = fleet.registered(worker)
    with orchestrator.client() as client:
        job_id = _submit_long(client, tmp_path)
        eventually(lambda: client.get(f"/jobs/{job_id}").json()["job"]["status"] == "running", "the job runs")
        assert fleet.redis.hlen(f"unacked:{worker_id}") == 1
        worker.process.kill()
        worker.wait()
        eventually(lambda: client.get(f"/workers/{worker_id}").json()["status"] == "faulty", "it is found dead")
        eventually(lambda: client.get(f"/jobs/{job_id}").json()["job"]["attempt"] == 2, "its job goes back")
        client.post(f"/jobs/{job_id}/cancel").raise_for_status()
    assert fleet.redis.exists(f"unacked:{worker_id}") == 0
    assert _refused(fleet) == []


def test_a_living_worker_whose_login_ended_enrols_again_and_works_on(fleet: Fleet, orchestrator: Orchestrator, tmp_path: Path) -> None:
    worker = _start(fleet, orchestrator)
    worker_id = fleet.registered(worker)
    eventually(lambda: fleet.redis.acl_deluser(f"fleetmark-{worker_id}") == 1, "its login is ended, and its connections with it")
    eventually(lambda: fleet.redis.acl_getuser(f"fleetmark-{worker_id}"), "it has a login again")
    _run_campaign(orchestrator, tmp_path)
    assert worker.log().count("; registering again") == 1
    assert worker.end() == 0


@pytest.mark.long
def test_a_job_in_hand_survives_the_loss_of_every_connection(fleet: Fleet, orchestrator: Orchestrator, tmp_path: Path) -> None:
    worker = _start(fleet, orchestrator)
    worker_id = fleet.registered(worker)
    with orchestrator.client() as client:
        job_id = _submit_long(client, tmp_path, repeats=4)
        eventually(lambda: "repeat" in fleet.state(worker_id)["stage"], "it measures")
        for connection in fleet.redis.client_list():
            if connection["user"] == f"fleetmark-{worker_id}":
                fleet.redis.client_kill_filter(_id=connection["id"])
        eventually(lambda: client.get(f"/jobs/{job_id}").json()["job"]["status"] in ("complete", "failed"), "the job ends")
        job = client.get(f"/jobs/{job_id}").json()["job"]
        assert (job["status"], job["attempt"]) == ("complete", 1)
    eventually(lambda: fleet.redis.hlen(f"unacked:{worker_id}") == 0, "its message is acknowledged over a new connection")
    assert worker.end() == 0
    assert _refused(fleet) == []  # no message was put back into a queue


def test_an_orchestrator_that_may_make_no_logins_says_what_it_needs(server: RedisServer, fleet: Fleet, tmp_path: Path) -> None:
    fleet.redis.execute_command("ACL SETUSER", "humble", "reset", "on", ">humble", "~*", "&*", "+@all", "-@admin")  # type: ignore[no-untyped-call]
    made = Orchestrator(f"redis://humble:humble@{server.place}/0", tmp_path / "orchestrator", FLEETMARK_BROKER_LOGINS="true")
    try:
        with made.client() as client:
            answer = client.post("/register", json={"device_name": "pi", "capabilities": ["cpu.onnx"]})
        assert answer.status_code == 500
        assert answer.json()["error"] == "LoginsNotMade"
        assert "fleetmark redis-acl" in answer.json()["detail"]
    finally:
        made.stop()


NONSENSE: list[tuple[str, str | bytes]] = [
    *(("held", nonsense) for nonsense in ("{", "5", '[["x"]]', "[" * 100_000)),
    *(("status", nonsense) for nonsense in ("royal", b"\xff\xfe")),
    *(("last_seen", nonsense) for nonsense in ("soon", "1_0", "nan", "1e300", "-1e300")),
    *(("registered_at", nonsense) for nonsense in ("nan", "1e300")),
    *(("metrics", nonsense) for nonsense in ("{", "[]", '{"load": NaN}', '{"load": 1e999}')),
    *(("progress", nonsense) for nonsense in ("nan", "7", "half")),
    *(("stage", nonsense) for nonsense in (b"\xff\xfe",)),
]


def test_a_worker_that_garbles_its_own_state_harms_nobody_else(fleet: Fleet, orchestrator: Orchestrator, tmp_path: Path) -> None:
    steady = _start(fleet, orchestrator)
    steady_id = fleet.registered(steady)
    told = _enrol(orchestrator)
    with redis.Redis.from_url(told["broker_url"]) as login, orchestrator.client() as client:
        for field, nonsense in NONSENSE:
            kept = login.hget(keys.worker(MINE), field)
            login.hset(keys.worker(MINE), field, nonsense)
            for path in ("/workers", "/health/workers", "/queue/status", "/monitoring/stats"):
                answer = client.get(path)
                assert answer.is_success, (field, nonsense, path, answer.text)
            assert steady_id in {worker["worker_id"] for worker in client.get("/workers").json()["workers"]}
            login.hset(keys.worker(MINE), field, kept or "")
        login.hset(keys.worker(MINE), mapping={"last_seen": "1_0", "status": "active"})
        sweeps = client.get("/monitoring/stats").json()["health_monitor"]["sweeps"]
        eventually(lambda: client.get("/monitoring/stats").json()["health_monitor"]["sweeps"] > sweeps + 1, "the watch goes on")
        login.lpush("results", b"\xff\xfe no text", "no report")
        _run_campaign(orchestrator, tmp_path)
        login.hset(keys.worker(MINE), "quarantined_until", "soon")
        for path in (f"/workers/{MINE}/heartbeat", "/register"):  # the worker must be able to come back
            body = {"device_name": "mallory", "capabilities": ["cpu.onnx"], "device_info": {"UDID": "mallory"}}
            client.post(path, json=body if path == "/register" else {}).raise_for_status()
        client.delete(f"/workers/{MINE}").raise_for_status()
    assert steady.end() == 0


@pytest.mark.long
def test_a_worker_holds_up_jobs_by_its_claims_until_it_is_removed_and_no_longer(
    fleet: Fleet, orchestrator: Orchestrator, tmp_path: Path
) -> None:
    steady = _start(fleet, orchestrator)
    steady_id = fleet.registered(steady)
    with redis.Redis.from_url(_enrol(orchestrator)["broker_url"], decode_responses=True) as login, orchestrator.client() as client:
        long = _submit_long(client, tmp_path)
        eventually(lambda: fleet.state(steady_id)["current_job"] == long, "the worker is at work")
        made = _submit(client, tmp_path, jobs=5)
        first, *others = (job["job_id"] for job in made["jobs"])
        honest = {"worker": steady_id, "incarnation": str(login.hmget(keys.worker(steady_id), "incarnation")[0])}
        login.hset(keys.worker(MINE), mapping={"incarnation": "x", "last_seen": "9e15", "held": json.dumps([[first, 1]])})
        forged = [{"attempt": "abc"}, {"attempt": "999999999"}, {"attempt": "2", **honest}, {"attempt": "1", **honest}]
        for name, claim in zip([first, *others], [{"attempt": "1", "worker": MINE, "incarnation": "x"}, *forged], strict=True):
            login.hset(keys.claim(name), mapping=claim)
        client.post(f"/jobs/{long}/cancel").raise_for_status()

        def states() -> list[str]:
            return [client.get(f"/jobs/{name}").json()["job"]["status"] for name in (first, *others)]

        eventually(lambda: states() == ["pending", *["complete"] * 4], "what nobody bears out holds up nothing")
        client.delete(f"/workers/{MINE}").raise_for_status()
        eventually(lambda: states() == ["complete"] * 5, "nor does a worker that was removed")
    assert "Traceback" not in steady.log()
    assert steady.end() == 0


@pytest.mark.long
def test_workers_come_back_to_a_redis_that_forgot_its_users(tmp_path: Path) -> None:
    with server_folder() as folder:
        server = RedisServer(folder, append_only=False, password=ADMIN)
        server.start()
        made = Orchestrator(server.url, tmp_path / "orchestrator", FLEETMARK_BROKER_LOGINS="true")
        with fleet_at(server.url, tmp_path) as fleet:
            worker = _start(fleet, made)
            worker_id = fleet.registered(worker)
            server.stop()
            eventually(lambda: "Redis does not answer" in worker.log(), "the worker notices")
            server.start()
            eventually(lambda: fleet.redis.acl_getuser(f"fleetmark-{worker_id}"), "it has a login again")
            _run_campaign(made, tmp_path)
            assert worker.log().count("; registering again") == 1  # the log says it only once
            assert worker.end() == 0
        made.stop()
        server.stop()


def _logs_in(place: str, user: str, password: str) -> bool:
    with redis.Redis.from_url(f"redis://{user}:{password}@{place}/0") as client:
        try:
            return bool(client.ping())
        except redis.AuthenticationError:
            return False


def test_the_printed_file_lets_in_the_orchestrator_and_flower_alone(tmp_path: Path) -> None:
    environment = {**os.environ, "FLEETMARK_ORCHESTRATOR_REDIS_PASSWORD": "one", "FLEETMARK_FLOWER_REDIS_PASSWORD": "two"}
    command = [sys.executable, "-m", "cli.main", "redis-acl"]
    printed = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    assert printed.stderr == ""  # nothing is printed, because the caller has chosen the passwords and knows them
    assert "one" not in re.findall(r"[^\W_]+", printed.stdout)
    users = tmp_path / "users.acl"
    users.write_text(printed.stdout)
    with _server_with(users) as place:
        assert _logs_in(place, "fleetmark-orchestrator", "one")
        assert _logs_in(place, "fleetmark-flower", "two")
        assert not _logs_in(place, "default", "")


def test_the_redis_of_compose_knows_its_users(tmp_path: Path) -> None:
    """The test runs the command of compose.yaml, but with the server of this machine instead of `redis-server`."""
    command = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["redis"]["command"]
    assert command[:2] == ["sh", "-c"]
    script = command[2].replace("$$", "$").replace("/tmp/users.acl", str(tmp_path / "users.acl"))
    script = script.replace("/etc/fleetmark/users.acl", str(ROOT / "deploy/redis/users.acl"))
    port = free_port()
    script = script.replace("exec redis-server", f"exec {find_redis_server()} --dir {tmp_path} --bind 127.0.0.1 --port {port}")
    process = subprocess.Popen(["sh", "-c", script], env={"REDIS_PASSWORD": "r3dis", "FLOWER_REDIS_PASSWORD": "fl0wer"})
    try:
        place = f"127.0.0.1:{port}"
        eventually(lambda: _logs_in(place, "fleetmark-orchestrator", "r3dis"), "the orchestrator's login")
        assert _logs_in(place, "fleetmark-flower", "fl0wer")
        assert not _logs_in(place, "default", "")
        assert not _logs_in(place, "fleetmark-orchestrator", "REDIS_PASSWORD")
        assert (tmp_path / "users.acl").stat().st_mode & 0o077 == 0
    finally:
        process.terminate()
        process.wait(timeout=30)


@contextmanager
def _server_with(users: Path) -> Iterator[str]:
    with server_folder() as folder:
        server = RedisServer(folder, append_only=False, options=["--aclfile", str(users)])
        server.start()
        yield server.place
        server.stop()
