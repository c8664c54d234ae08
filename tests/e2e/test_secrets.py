"""Searches all output of a whole system for its secrets, during normal work and during faults."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import redis

from tests.file_server import file_server
from tests.servers import PostgresServer, RedisServer, free_port, server_folder
from worker.hardware.probe import PROBE_MODEL

pytestmark = pytest.mark.timeout(600)

PATIENCE_S = 120.0


class System:
    """Holds processes with secrets in their environment, with all their output and all their command lines."""

    def __init__(self, folder: Path, redis_url: str, database_url: str) -> None:
        self.folder = folder
        self.host = f"http://127.0.0.1:{free_port()}"
        self.environment = {
            "FLEETMARK_REDIS_URL": redis_url,
            "FLEETMARK_DATABASE_URL": database_url,
            "FLEETMARK_OUTPUTS_DIR": str(folder / "outputs"),
            "FLEETMARK_MODELS_DIR": str(folder / "models"),
            "FLEETMARK_WORKER_STATE_DIR": str(folder / "state"),
            "FLEETMARK_WORKER_CACHE_DIR": str(folder / "cache"),
            "FLEETMARK_WORKER_LOCK_FILE": str(folder / "lock"),
            "FLEETMARK_WORKER_PORT": "0",
            "FLEETMARK_WORKER_ALLOW_PRIVATE_URLS": "true",
            "FLEETMARK_LOG_LEVEL": "debug",
        }
        self.command_lines: set[str] = set()
        self.environments: dict[str, str] = {}  # the environments of guards and measured processes, by process id and parent id
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, *command: str, **variables: str) -> subprocess.Popen[bytes]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("FLEETMARK_")}
        environment = inherited | self.environment | variables
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen([sys.executable, "-m", *command], env=environment, stdout=log, stderr=log, cwd=self.folder)
        self.processes.append(process)
        return process

    def run(self, name: str, *command: str, **variables: str) -> int:
        process = self.start(name, *command, **variables)
        while process.poll() is None:
            self.look()
            time.sleep(0.1)
        return process.returncode

    def look(self) -> None:
        """Remember the command lines of everything we started, and of everything that started."""
        for started in self.processes:
            try:
                ours = psutil.Process(started.pid)
                for process in (ours, *ours.children(recursive=True)):
                    self.command_lines.add(line := "\0".join(process.cmdline()))
                    if "worker.runner" in line:
                        self.environments[f"{process.pid} below {process.ppid()}"] = json.dumps(process.environ())
            except psutil.Error:
                continue

    def until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            self.look()
            assert time.monotonic() < deadline, f"{what}; {self.log('server')[-3000:]}{self.log('worker')[-3000:]}"
            time.sleep(0.1)

    def log(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return path.read_text() if path.exists() else ""

    def answers(self, path: str = "/api/health") -> int:
        try:
            return httpx.get(self.host + path, trust_env=False, timeout=30, verify=False).status_code
        except httpx.TransportError:
            return 0

    def end(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def password_redis() -> Iterator[tuple[RedisServer, str]]:
    password = f"redis-{secrets.token_hex(12)}"
    with server_folder() as folder:
        server = RedisServer(folder)
        server.start()
        with redis.Redis.from_url(server.url) as client:
            client.config_set("requirepass", password)
        yield server, password
        server.stop()


@pytest.mark.long
def test_no_secret_is_in_logs_errors_files_or_process_lists(
    password_redis: tuple[RedisServer, str], own_postgres: PostgresServer, tmp_path: Path
) -> None:
    broker, redis_password = password_redis
    names = ("database", "url", "user", "token", "wrong")
    database_password, url_password, url_user, token, wrong = (f"{name}-{secrets.token_hex(12)}" for name in names)
    database = own_postgres.create_database("secrets").replace("postgres@", f"postgres:{database_password}@")
    system = System(tmp_path, broker.url.replace("redis://", f"redis://:{redis_password}@"), database)
    said: list[str] = []

    def ask(method: str, path: str, body: object = None, bearer: str = token) -> httpx.Response:
        answer = httpx.request(
            method, system.host + path, json=body, headers={"Authorization": f"Bearer {bearer}"}, trust_env=False, timeout=30, verify=False
        )
        said.append(f"{answer.headers}{answer.text}")
        return answer

    try:
        serve = ("orchestrator.cli", "serve", "--host", "0.0.0.0", "--port", system.host.rpartition(":")[2])
        assert system.run("refused", *serve) == 2  # it listens on more than the loopback, and there is no token
        assert "FLEETMARK_TOKEN" in system.log("refused")
        system.start("server", *serve, FLEETMARK_TOKEN=token)
        system.until(lambda: system.answers() == 200, "the server is healthy")

        client = {"FLEETMARK_HOST": system.host, "FLEETMARK_TOKEN": token}
        assert system.run("made", "cli.main", "token", "create", "device", "--role", "worker", "--json", **client) == 0
        worker_token = json.loads(system.log("made").partition("From now")[0])["secret"]
        (tmp_path / "made.log").unlink()  # this is the only place that shows a secret
        (tmp_path / "device.token").write_text(worker_token + "\n")

        device = {"FLEETMARK_HOST": system.host, "FLEETMARK_REDIS_URL": ""}
        assert system.run("stranger", "worker.cli", "start", FLEETMARK_TOKEN=wrong, **device) == 2
        assert system.run("broken", "worker.cli", "start", FLEETMARK_TOKEN=f"{wrong}\nx", **device) == 2
        assert system.run("trial", "worker.cli", "test", "--token-file", str(tmp_path / "device.token"), **device) == 0
        system.start("worker", "cli.main", "worker", "start", FLEETMARK_TOKEN_FILE=str(tmp_path / "device.token"), **device)
        system.until(lambda: ask("GET", "/api/workers").json()["count"] == 1, "the worker registers")

        with file_server(model__onnx=PROBE_MODEL) as files:
            address = files.url.replace("http://", f"http://{url_user}:it's{url_password}@")
            sent = [
                ask("POST", "/api/campaigns", recipe(f"{address}/{name}")).json()["campaign_id"] for name in ("model.onnx", "none.onnx")
            ]
            for campaign in sent:
                path = f"/api/campaigns/{campaign}"
                system.until(lambda path=path: ask("GET", path).json()["status"] == "completed", f"{campaign} ends")  # type: ignore[misc]
                system.until(lambda campaign=campaign: list(tmp_path.glob(f"outputs/{campaign}_*.csv")), f"{campaign} has its files")  # type: ignore[misc]
                for more in ("", "/results"):
                    ask("GET", path + more)
                job = ask("GET", f"/api/jobs/{campaign}-job-1").json()["job"]
                assert job["status"] == ("complete" if campaign == sent[0] else "failed"), job
            ask("GET", "/api/jobs")
            assert any(
                headers.get("Authorization", "").startswith("Basic ") for _, headers in files.requests
            )  # the device has the password

        ask("GET", "/api/campaigns", bearer=wrong)
        ask("GET", "/api/campaigns", bearer=worker_token)
        ask("POST", "/api/campaigns", {"model_url": f"ftp://somebody:{url_password}@host/m.onnx", "jobs": [{"compute_unit": "cpu.onnx"}]})
        ask("POST", "/api/campaigns", {"token": 1})
        broker.stop()
        assert ask("GET", "/api/workers").status_code == 503
        own_postgres.stop()
        assert ask("GET", "/api/campaigns").status_code == 503
        assert system.answers() == 503
        said.append(httpx.get(f"{system.host}/api/health", trust_env=False, verify=False).text)
        system.until(lambda: "does not answer" in system.log("server"), "the server notices")
        system.until(lambda: "trying" in system.log("worker") or "tried again" in system.log("worker"), "the worker notices")

        bad = {"FLEETMARK_DATABASE_URL": f"mysql://user:{database_password}@host/name", "FLEETMARK_TOKEN": token}
        assert system.run("mysql", *serve, **bad) == 2
        assert system.run("amqp", *serve, FLEETMARK_REDIS_URL=f"amqp://user:{redis_password}@host", FLEETMARK_TOKEN=token) == 2
        assert system.run("slash", *serve, FLEETMARK_REDIS_URL=f"redis://:{redis_password}/x@host/0", FLEETMARK_TOKEN=token) == 2
        assert "%2F" in system.log("slash")
        assert system.run("migrate", "orchestrator.cli", "migrate") == 3
        assert system.run("client", "cli.main", "list", **client) == 3
        assert system.run("unusable", "cli.main", "list", FLEETMARK_HOST=system.host, FLEETMARK_TOKEN=f"{wrong} {token}") == 2
    finally:
        system.end()

    hidden = {
        "token": token,
        "worker's token": worker_token,
        "wrong token": wrong,
        "Redis password": redis_password,
        "database password": database_password,
        "password in a model's address": url_password,
        "user name in a model's address": url_user,
    }
    texts = {f"answer {number}": text for number, text in enumerate(said)}
    texts |= {f"command line {line!r}": line for line in system.command_lines}
    texts |= {f"the environment of {process}": variables for process, variables in system.environments.items()}
    outputs = [path for path in tmp_path.glob("outputs/**/*") if path.is_file()]
    assert {"run.json", "recipe.yaml", "report.md"} <= {path.name for path in outputs}
    logs = list(tmp_path.glob("*.log"))
    texts |= {str(path): path.read_bytes().decode(errors="replace") for path in (*outputs, *logs)}
    assert [f"the {what} is in {where}" for where, text in texts.items() for what, secret in hidden.items() if secret in text] == []
    assert len(system.command_lines) > 5
    assert len(system.environments) > 1
    assert not any("TOKEN_FILE" in variables for variables in system.environments.values())
    assert any("worker.cli" in line for line in system.command_lines)
    assert "***" in (tmp_path / "outputs" / sent[0] / "run.json").read_text()  # the secret was there, so it had to be hidden


def recipe(source: str) -> dict[str, object]:
    return {"name": "small", "model": source, "on": ["cpu.onnx"], "inferences": 5, "repeats": 1, "warmup": {"min_calls": 1, "min_s": 0}}


def test_a_token_on_the_command_line_is_warned_of(tmp_path: Path) -> None:
    system = System(tmp_path, f"redis://127.0.0.1:{free_port()}/0", f"sqlite:///{tmp_path / 'f.db'}")
    for name, command in (
        ("client", ("cli.main", "list", "--token", "t", "--host", system.host)),
        ("worker", ("worker.cli", "test", "--token", "t", "--host", system.host)),
    ):
        system.run(name, *command)
        assert "process list" in system.log(name)
