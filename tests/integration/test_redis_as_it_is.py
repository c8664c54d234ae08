"""Tests Redis servers that answer but cannot be used (evicting, full, a replica, a Sentinel), and all forms of addresses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from cli.servers import find_redis_server
from orchestrator.dispatch.celery_queue import CeleryQueue
from orchestrator.registry import Registry
from shared.brokers import shown_place
from shared.celery_app import make_celery_app
from shared.errors import Unavailable
from shared.protocol.condition import troubles
from tests.integration.orchestrator_process import Orchestrator
from tests.integration.worker_process import Fleet, eventually
from tests.servers import RedisServer, free_port, server_folder
from worker.agent.trial import FAILED, _broker

FULL = ("--maxmemory", "3mb", "--maxmemory-policy", "noeviction")
EVICTS = ("--maxmemory", "3mb", "--maxmemory-policy", "allkeys-lru")


@contextmanager
def server(*options: str, append_only: bool = False) -> Iterator[RedisServer]:
    with server_folder() as folder:
        running = RedisServer(folder, append_only=append_only, options=options)
        running.start()
        try:
            yield running
        finally:
            running.stop()


def fill(url: str) -> None:
    """Write until the server accepts no more data."""
    with redis.Redis.from_url(url) as client:
        for number in range(10_000):
            try:
                client.set(f"of-others:{number}", "x" * 10_000)
            except redis.OutOfMemoryError:
                return
    raise AssertionError("it is not full after 100 MB")


@contextmanager
def sentinel() -> Iterator[str]:
    """Yield the address of a Sentinel that monitors no server. The address has the form of a Redis address."""
    with server_folder() as folder:
        port = free_port()
        (folder / "sentinel.conf").write_text(f"port {port}\nbind 127.0.0.1\ndir {folder}\n")
        command = [str(find_redis_server()), str(folder / "sentinel.conf"), "--sentinel"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        url = f"redis://127.0.0.1:{port}/0"
        try:
            with redis.Redis.from_url(url) as client:
                eventually(lambda: client.ping(), "the Sentinel answers")
            yield url
        finally:
            process.terminate()
            process.wait(timeout=15)


def fleetmark(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLEETMARK_")}
    command = [sys.executable, "-P", "-m", *arguments]
    return subprocess.run(command, check=False, cwd=folder, env=kept | variables, capture_output=True, text=True, timeout=60)


def doctor(folder: Path, redis_url: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Return the exit code, and the findings by name."""
    done = fleetmark(folder, "cli.main", "doctor", "--json", FLEETMARK_REDIS_URL=redis_url, FLEETMARK_PORT=str(free_port()))
    assert done.stdout, done.stderr
    return done.returncode, {finding["what"]: finding for finding in json.loads(done.stdout)}


def test_a_redis_as_it_should_be_has_no_troubles(redis_url: str, tmp_path: Path) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        assert troubles(client) == []
    code, found = doctor(tmp_path, redis_url)
    assert (code, found["Redis"]["verdict"]) == (0, "ok")


@pytest.mark.long
def test_a_redis_that_may_evict_is_told_while_it_works(tmp_path: Path) -> None:
    with server(*EVICTS) as evicting:
        code, found = doctor(tmp_path, evicting.url)
        assert (code, found["Redis"]["verdict"]) == (1, "wrong")
        assert "may throw away jobs and results when its memory is full (maxmemory-policy is allkeys-lru)" in found["Redis"]["found"]
        assert "CONFIG SET maxmemory-policy noeviction" in found["Redis"]["mend"]
        plane = Orchestrator(evicting.url, tmp_path / "o")
        try:
            with plane.client() as api:
                body = api.get("/health").json()
            assert body["status"] == "healthy"
            assert body["redis"]["connected"] is True
            assert [problem[:62] for problem in body["redis"]["problems"]] == [
                "Redis may throw away jobs and results when its memory is full "
            ]
            done = fleetmark(tmp_path, "cli.main", "doctor", "--host", plane.url, FLEETMARK_TOKEN="a-token")
            assert done.returncode == 1
            assert "its Redis" in done.stdout
        finally:
            plane.stop()


def test_a_policy_without_a_limit_evicts_nothing(tmp_path: Path) -> None:
    with server("--maxmemory-policy", "allkeys-lru") as unlimited, redis.Redis.from_url(unlimited.url, decode_responses=True) as client:
        assert troubles(client) == []


def test_a_full_redis_is_told_with_its_size(tmp_path: Path) -> None:
    """Redis frees a little memory whenever a client leaves, so the test fills it again before each check."""
    with server(*FULL) as full:
        plane = Orchestrator(full.url, tmp_path / "o")

        def finding() -> dict[str, Any] | None:
            fill(full.url)
            code, found = doctor(tmp_path, full.url)
            return found["Redis"] if code == 1 else None

        def health() -> dict[str, Any] | None:
            fill(full.url)
            with plane.client() as api:
                answer = api.get("/health")
            return answer.json() if answer.status_code == 503 else None

        def words() -> str | None:
            fill(full.url)
            done = fleetmark(tmp_path, "cli.main", "doctor", "--host", plane.url, FLEETMARK_TOKEN="a-token")
            return done.stdout if done.returncode == 1 else None

        try:
            found = eventually(finding, "the doctor finds it on this machine")
            assert found["verdict"] == "wrong"
            assert "is full and takes no writes: 3." in found["found"]
            told = eventually(health, "the health says so")
            assert told["status"] == "degraded"
            assert "Redis is full and takes no writes" in told["redis"]["problems"][0]
            said = eventually(words, "the doctor asks the orchestrator")
            assert "is full and takes no writes" in said
            assert "--token" not in said
        finally:
            plane.stop()


def test_a_worker_says_once_that_redis_is_full(tmp_path: Path) -> None:
    with server(*FULL) as full:
        fleet = Fleet(full.url, tmp_path)
        worker = fleet.start(FLEETMARK_HEARTBEAT_S="0.1")
        try:
            fleet.registered(worker)
            fill(full.url)
            eventually(lambda: "measuring goes on" in worker.log(), "the worker notices")
            with redis.Redis.from_url(full.url) as client:
                refused = client.info("errorstats").get("errorstat_OOM", {}).get("count", 0)
                eventually(lambda: client.info("errorstats")["errorstat_OOM"]["count"] > refused + 10, "it goes on trying")
                said = worker.log()
                client.flushall()
            eventually(lambda: "Redis is back" in worker.log(), "the worker beats again")
        finally:
            worker.end()
            fleet.redis.close()
        assert said.count("measuring goes on") == 1
        assert "a heartbeat failed" not in said


def test_a_replica_is_told_with_its_master(redis_server: RedisServer, tmp_path: Path) -> None:
    with server("--replicaof", "127.0.0.1", str(redis_server.port)) as replica:
        code, found = doctor(tmp_path, replica.url)
        assert (code, found["Redis"]["verdict"]) == (1, "wrong")
        assert "is a replica and takes no writes" in found["Redis"]["found"]
        assert found["Redis"]["mend"] == f"give the address of its master, which is 127.0.0.1:{redis_server.port}"
        done = fleetmark(tmp_path, "cli.main", "up", FLEETMARK_REDIS_URL=replica.url)
        assert done.returncode == 2
        assert "is a replica and takes no writes" in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["cli.main", "up"],
        ["cli.main", "flower"],
        ["cli.main", "redis-acl"],
        ["cli.main", "redis-acl", "--apply"],
        ["cli.main", "doctor"],
        ["orchestrator.cli", "serve"],
        ["worker.cli", "start"],
        ["worker.cli", "test"],
    ],
    ids=" ".join,
)
def test_the_address_of_a_sentinel_is_refused_with_what_to_use(tmp_path: Path, command: list[str]) -> None:
    done = fleetmark(tmp_path, *command, FLEETMARK_REDIS_URL="sentinel://:hunter2@lab:26379/0", COLUMNS="1000")
    assert done.returncode == 2, done.stderr
    assert "give the address of the Redis itself" in done.stderr
    assert "SENTINEL get-master-addr-by-name" in done.stderr
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_sentinel_behind_an_address_of_redis_is_noticed(tmp_path: Path) -> None:
    with sentinel() as url:
        code, found = doctor(tmp_path, url)
        assert (code, found["Redis"]["verdict"]) == (1, "wrong")
        assert "is a Sentinel" in found["Redis"]["found"]
        for command in (["up"], ["flower"], ["redis-acl", "--apply"]):
            done = fleetmark(tmp_path, "cli.main", *command, FLEETMARK_REDIS_URL=url)
            assert done.returncode == 2, done.stderr
            assert "is a Sentinel: a Sentinel tells where Redis is" in done.stderr
        registry = Registry(url, 30)
        try:
            assert [trouble.words for trouble in registry.troubles()] == ["is a Sentinel"]
            with pytest.raises(Unavailable, match=r"does not know a command .* is it a Sentinel"):
                registry.ping_ms()
        finally:
            registry.close()


def test_a_worker_s_trial_of_the_way_to_its_broker_says_what_answers_there() -> None:
    with sentinel() as url:
        step = _broker(url)
        assert step.exit_code == FAILED
        assert f"{shown_place(url)} is a Sentinel: a Sentinel tells where Redis is" in step.found
    with server_folder() as folder, server("--unixsocket", str(folder / "r.sock")):
        step = _broker(f"unix://{folder / 'r.sock'}?db=3")
        assert (step.ok, step.found) == (True, f"{folder / 'r.sock'} answers")


@pytest.mark.parametrize("name", ["r.sock", "a ?b#c%41.sock"])
def test_a_socket_is_one_broker_for_both_libraries(tmp_path: Path, name: str) -> None:
    from urllib.parse import quote

    with server_folder() as folder, server("--unixsocket", str(folder / name)) as running:
        url = f"unix://{quote(str(folder / name))}?db=3"
        queue, app = CeleryQueue(url), make_celery_app(url)
        try:
            with app.connection_for_write() as connection:
                connection.default_channel.client.lpush("cpu.onnx", "{}")
            assert queue.depths(["cpu.onnx"]) == {"cpu.onnx": 1}
            with redis.Redis(port=running.port, db=3) as client:
                assert client.llen("cpu.onnx") == 1
        finally:
            queue.close()
            app.close()


def test_a_login_of_any_characters_and_a_database_of_its_own_reach_both_libraries(tmp_path: Path) -> None:
    from urllib.parse import quote

    user, password = "me@lab:1", "p/w?#%41 ü"
    with server() as running, redis.Redis(port=running.port, decode_responses=True) as admin:
        admin.acl_setuser(user, enabled=True, passwords=[f"+{password}"], keys=["*"], commands=["+@all"], channels=["*"])
        admin.acl_setuser("default", enabled=False)
        url = f"redis://{quote(user, safe='')}:{quote(password, safe='')}@{running.place}/3"
        queue, app = CeleryQueue(url), make_celery_app(url)
        try:
            with app.connection_for_write() as connection:
                connection.default_channel.client.lpush("cpu.onnx", "{}")
            assert queue.depths(["cpu.onnx"]) == {"cpu.onnx": 1}
            code, found = doctor(tmp_path, url)
            assert (code, found["Redis"]["verdict"]) == (0, "ok")
            code, found = doctor(tmp_path, f"redis://{running.place}/3")
            assert (code, found["Redis"]["verdict"]) == (1, "wrong")
            assert "refuses the login" in found["Redis"]["found"]
        finally:
            queue.close()
            app.close()
