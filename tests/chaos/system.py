"""Starts the whole system as in production: each part as a process, Redis with its file, PostgreSQL, and three devices."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import httpx
import psutil
import psycopg
import redis

from tests.chaos.locks import Locks
from tests.chaos.plan import WORKERS
from tests.servers import PostgresServer, RedisServer, free_port, server_folder

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
MARK = "TESTED_BY"  # this variable is in the environment of everything that is started, and their child processes inherit it
PATIENCE_S = 120.0  # this only stops a test that hangs; the machine may be busy
BEATS = {"HEARTBEAT_S": "0.5", "HEARTBEAT_TIMEOUT_S": "3", "WATCH_SWEEP_S": "0.5"}
BEATS |= {"QUARANTINE_AFTER": "1000"}  # the faults make the devices flap, so no device may be put into quarantine


def eventually(look: Callable[[], T | None], what: str, patience_s: float = PATIENCE_S) -> T:
    """Call `look` until it returns a true value, and return that. `look` may raise errors while a part is away."""
    until = time.monotonic() + patience_s
    reason: Exception | None = None
    while time.monotonic() < until:
        try:
            if found := look():
                return found
        except (httpx.HTTPError, redis.RedisError) as error:
            reason = error
        time.sleep(0.05)
    raise AssertionError(f"not within {patience_s:g} s: {what}") from reason


class Part:
    """Manages one process of the product, which can be ended and started again. Each start has its own log."""

    def __init__(self, name: str, command: list[str], environment: Mapping[str, str], logs: Path) -> None:
        self.name, self.command = name, command
        self._environment, self._logs = environment, logs
        self._starts = 0
        self.launcher: tuple[str, ...] = ()  # the environment of the last start
        self._process: subprocess.Popen[bytes] | None = None
        self.log = logs / f"{name}.log"
        self.by_itself: list[str] = []  # all ends that no test asked for

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, *launcher: str) -> None:
        """Start the process, by `launcher` if one is given (see `dying.py`)."""
        self._starts, self.launcher = self._starts + 1, launcher
        self.log = self._logs / f"{self.name}-{self._starts}.log"
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", *launcher, *self.command]
            self._process = subprocess.Popen(command, env=self._environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def look(self) -> None:
        """Record an end that no test asked for."""
        if self._process is not None and (code := self._process.poll()) is not None:
            self.by_itself.append(f"{self.name} ended by itself with {code}: {self.log}")
            self._process = None

    def send(self, number: int) -> None:
        self.look()
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        self.look()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def terminate(self, patience_s: float) -> None:
        """Send SIGTERM, and SIGKILL if the process still runs after `patience_s`."""
        self.send(signal.SIGTERM)
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                code = self._process.wait(patience_s)
                # -SIGTERM is also accepted: the process had not set its handlers yet, or it passed the signal on when it was done
                if code not in (0, -signal.SIGTERM):
                    self.by_itself.append(f"{self.name} ended with {code} on SIGTERM: {self.log}")
                self._process = None
            self.kill()

    def died(self) -> int:
        """Wait until the process has ended, and return its exit code."""
        assert self._process is not None
        code = self._process.wait(PATIENCE_S)
        self._process = None
        return code


class System:
    """Manages all parts of a system in one folder. `close` ends all of them and keeps only the folder."""

    def __init__(
        self, folder: Path, redis_server: RedisServer, postgres: PostgresServer, settings: Mapping[str, str], locks: Locks | None
    ) -> None:
        """Prepare the parts. Nothing is started yet.

        Args:
            settings: settings of every part. They take precedence over `BEATS`.
            locks: the passwords and tokens, if the system requires them.
        """
        self.folder, self.redis_server, self.postgres, self.locks = folder, redis_server, postgres, locks
        self.outputs = folder / "outputs"
        self.address = f"http://127.0.0.1:{free_port()}"
        self.database_url = postgres.create_database(f"chaos_{secrets.token_hex(4)}")
        broker = redis_server.url if locks is None else locks.broker(redis_server.place)
        self.redis: redis.Redis = redis.Redis.from_url(
            redis_server.url if locks is None else locks.own(redis_server.place), decode_responses=True
        )
        self.headers = {} if locks is None else {"Authorization": f"Bearer {locks.token}"}
        self.mark = secrets.token_hex(8)
        logs = folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        places = {"REDIS_URL": broker, "DATABASE_URL": self.database_url, "OUTPUTS_DIR": str(self.outputs)}
        places |= {"MODELS_DIR": str(folder / "models"), "RECIPES_DIR": str(folder / "recipes")}
        places |= {} if locks is None else {"TOKEN": locks.token, "BROKER_LOGINS": "true"}
        self._common = {name: value for name, value in os.environ.items() if not name.startswith("FLEETMARK_")}
        self._common |= {MARK: self.mark, **{f"FLEETMARK_{name}": value for name, value in (places | BEATS | dict(settings)).items()}}
        serve = ["orchestrator.cli", "serve", "--only-api", "--port", self.address.rpartition(":")[2]]
        self.api = Part("api", serve, self._common, logs)
        self.consumer = Part("consumer", ["orchestrator.cli", "consumer"], self._common, logs)
        self.watch = Part("watch", ["orchestrator.cli", "watch"], self._common, logs)
        self.workers = [self._worker(number) for number in range(1, WORKERS + 1)]
        self.parts = {part.name: part for part in (self.api, self.consumer, self.watch, *self.workers)}

    def _worker(self, number: int) -> Part:
        """Return the settings of one device. It has its own state, cache and lock, so that three devices measure at once."""
        name = f"worker-{number}"
        own = {"STATE_DIR": self.state(name), "CACHE_DIR": self.folder / name / "cache", "LOCK_FILE": self.folder / name / "measure.lock"}
        environment = self._common | {f"FLEETMARK_WORKER_{key}": str(value) for key, value in own.items()}
        environment |= {"FLEETMARK_HOST": self.address, "FLEETMARK_WORKER_NAME": name, "FLEETMARK_WORKER_PORT": "0"}
        del environment["FLEETMARK_REDIS_URL"]  # a worker needs only the address of the orchestrator
        if self.locks is not None:
            del environment["FLEETMARK_TOKEN"]
            environment["FLEETMARK_TOKEN_FILE"] = str(self.folder / name / "token")
        (self.folder / name).mkdir(exist_ok=True)
        return Part(name, ["worker.cli", "start"], environment, self.folder / "logs")

    def state(self, worker: str) -> Path:
        return self.folder / worker / "state"

    def start(self, *names: str) -> None:
        """Bring the database up to date, then start these parts, or all, and wait until each can be used."""
        wanted = [self.parts[name] for name in names] or list(self.parts.values())
        self._orchestrator("migrate")
        for part in self.workers if self.locks is not None else ():
            made = self._orchestrator("token", "create", part.name, "--role", "worker")
            (self.folder / part.name / "token").write_text(made.stdout.split()[-1])
        for part in sorted(wanted, key=lambda part: part is not self.api):
            part.start()
            if part is self.api:
                eventually(lambda: httpx.get(f"{self.address}/api/health", verify=False).is_success, f"the API answers: {part.log}")
        devices = sum(part in wanted for part in self.workers)
        eventually(lambda: self.healthy() >= devices, "every worker has registered")

    def healthy(self) -> int:
        """Return the number of healthy workers according to the API."""
        return int(httpx.get(f"{self.address}/api/health/workers", headers=self.headers, verify=False).json()["healthy"])

    def _orchestrator(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "orchestrator.cli", *arguments]
        return subprocess.run(command, env=self._common, cwd=ROOT, check=True, capture_output=True, text=True)

    def family(self) -> list[psutil.Process]:
        """Return every running process that this system has started, without the servers."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def leaks(self) -> list[str]:
        """Return the log files and result files that contain a secret."""
        if self.locks is None:
            return []
        tokens = [(self.folder / part.name / "token").read_text() for part in self.workers]
        with psycopg.connect(self.database_url.replace("+psycopg", "")) as connection:
            keys = [str(key) for (key,) in connection.execute("SELECT secret FROM worker_keys").fetchall()]
        return list(self.locks.leaked(self.folder / "logs", self.outputs, more=(*tokens, *keys)))

    def stop(self) -> None:
        """Stop the parts in order. Workers stop first, so that the other parts receive what they hand back."""
        for part in (*self.workers, self.consumer, self.watch, self.api):
            part.terminate(PATIENCE_S)

    def close(self) -> None:
        """Kill all processes that still run."""
        for part in self.parts.values():
            part.kill()
        for process in self.family():
            with suppress(psutil.Error):
                process.kill()
        self.redis.close()


@contextmanager
def system_in(folder: Path, *, locked: bool = False, **settings: str) -> Iterator[System]:
    """Yield a system that has not started yet, on real servers that run.

    Args:
        locked: True if everyone needs a token, and each worker has its own token and login and signs its reports.
    """
    with server_folder() as redis_folder, server_folder() as postgres_folder:
        locks = Locks() if locked else None
        options = [] if locks is None else ["--aclfile", str(locks.users_in(redis_folder))]
        redis_server, postgres = RedisServer(redis_folder, options=options), PostgresServer(postgres_folder)
        redis_server.start()
        try:
            postgres.start()
            system = System(folder, redis_server, postgres, settings, locks)
            try:
                yield system
            finally:
                system.close()
        finally:
            redis_server.stop()
            postgres.stop()
