"""Starts the control plane for a benchmark as in production: Redis, PostgreSQL, API, consumer and watch, each as a process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import redis

from shared.web import web_client
from tests.servers import PostgresServer, RedisServer, free_port, server_folder


@dataclass
class Processes:
    """Holds the addresses of the control plane, and its processes by name."""

    api: str
    redis_url: str
    database_url: str
    redis: redis.Redis
    parts: dict[str, psutil.Process]
    environment: dict[str, str]

    def resident_mb(self) -> dict[str, float]:
        """Return the resident memory (VmRSS) of each process with its children, in MB of 2^20 bytes."""
        return {
            name: sum(one.memory_info().rss for one in [part, *part.children(recursive=True)]) / 2**20 for name, part in self.parts.items()
        }

    def processor_s(self) -> dict[str, float]:
        """Return the processor time that each part with its children has used until now, in seconds."""
        return {name: used_s(part) for name, part in self.parts.items()}


def used_s(process: psutil.Process) -> float:
    """Return the processor time of a process and of its living children, in seconds."""
    times = [one.cpu_times() for one in [process, *process.children(recursive=True)]]
    return sum(each.user + each.system for each in times)


@contextmanager
def control_plane(**settings: str) -> Iterator[Processes]:
    """Start all parts on free ports. `settings` are FLEETMARK_ variables without their prefix."""
    with ExitStack() as stack:
        redis_server = RedisServer(stack.enter_context(server_folder()))
        postgres = PostgresServer(stack.enter_context(server_folder()))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for server in (redis_server, postgres):
            server.start()
            stack.callback(server.stop)
        port = free_port()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FLEETMARK_")} | {
            "FLEETMARK_REDIS_URL": redis_server.url,
            "FLEETMARK_DATABASE_URL": postgres.create_database("bench"),
            "FLEETMARK_OUTPUTS_DIR": str(folder / "outputs"),
            "FLEETMARK_MODELS_DIR": str(folder / "models"),
            "FLEETMARK_LOG_LEVEL": "error",
            **{f"FLEETMARK_{name.upper()}": value for name, value in settings.items()},
        }
        cli = [sys.executable, "-m", "orchestrator.cli"]
        subprocess.run([*cli, "migrate"], env=environment, check=True, stdout=subprocess.DEVNULL)
        commands = {"api": ["serve", "--only-api", "--port", str(port)], "consumer": ["consumer"], "watch": ["watch"]}
        parts = {}
        for name, command in commands.items():
            started = subprocess.Popen([*cli, *command], env=environment)
            stack.callback(_end, started)
            parts[name] = psutil.Process(started.pid)
        assert redis_server.process is not None
        assert postgres.process is not None
        parts |= {"redis": psutil.Process(redis_server.process.pid), "postgres": psutil.Process(postgres.process.pid)}
        client = redis.Redis.from_url(redis_server.url)
        stack.callback(client.close)
        api = f"http://127.0.0.1:{port}/api"
        _wait_for(api)
        yield Processes(api, redis_server.url, environment["FLEETMARK_DATABASE_URL"], client, parts, environment)


def _wait_for(api: str, patience_s: float = 60.0) -> None:
    until = time.monotonic() + patience_s
    with web_client(api, timeout=5, direct=True) as client:
        while time.monotonic() < until:
            try:
                if client.get("/health").is_success:
                    return
            except httpx.HTTPError:
                pass  # not listening yet
            time.sleep(0.05)
    raise SystemExit(f"the API did not answer within {patience_s:g} s")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
