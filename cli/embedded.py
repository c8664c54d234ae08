"""Starts Redis, the orchestrator and one worker on this machine. If an address is configured, that server is used instead."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any
from urllib.request import getproxies_environment

from cli.brokers import require_redis
from cli.client import Client
from cli.databases import require_database, shown_database
from cli.errors import PartFailed, Unreachable
from cli.parts import Part
from cli.ports import free_port, require_free
from cli.servers import EVERY_BIND, find_redis_server, has_selectors, named_exactly, pings, quoted
from cli.settings import LOOPBACK, PREFIX, child_environment, sqlite_url
from shared.addresses import with_login
from shared.brokers import shown_place
from shared.clock import Clock, SystemClock
from shared.errors import InvalidInput, Unavailable
from shared.hosts import in_url, is_loopback, is_this_machine, reached_at
from shared.readiness import failed_checks, require_writable

DATABASE = "fleetmark.db"
DEGRADED_S = 5.0  # how long a starting orchestrator may say that Redis or the database does not answer it
PYTHON = (sys.executable, "-P", "-m")  # -P stops Python from importing modules such as `worker.py` from the user's current folder


@dataclass(frozen=True)
class Plan:
    """Says what to start, where it listens, and where it stores its files."""

    data_dir: Path
    outputs_dir: Path
    bind: str = LOOPBACK
    port: int = 0  # 0 takes any free port
    redis_port: int = 0  # the port of the Redis that is started; 0 takes any free port
    token: str | None = None
    redis_url: str | None = None  # None starts a Redis
    database_url: str | None = None  # None uses SQLite in data_dir
    tls: bool = False  # True if the orchestrator serves https because of settings that it inherits
    ca_file: Path | None = None
    with_worker: bool = True
    inherit: bool = True  # True if the parts inherit the FLEETMARK_* variables of the environment
    heartbeat_s: float | None = None  # None uses the configured interval
    log_format: str | None = None  # None uses the configured format


class Stack:
    """Starts, watches and stops the parts. Call the `start_…` methods in order. `running_stack` calls `stop`."""

    def __init__(self, plan: Plan, clock: Clock) -> None:
        self.plan = plan
        self.parts: list[Part] = []
        self.data_dir = plan.data_dir.resolve()
        self.port = plan.port or free_port()
        self.redis_url = plan.redis_url or ""
        self._gives_logins = False  # True if each worker gets its own Redis login: our Redis asks for a password and supports selectors
        self._clock = clock

    @property
    def host(self) -> str:
        """Return the address at which this machine reaches the orchestrator."""
        return f"{'https' if self.plan.tls else 'http'}://{in_url(self._own_name)}:{self.port}"

    @property
    def _own_name(self) -> str:
        return reached_at(self.plan.bind)

    @property
    def _guarded(self) -> bool:
        """Return whether other users of this machine and the network must be kept out."""
        return bool(self.plan.token) or not is_loopback(self.plan.bind)

    @property
    def logs(self) -> Path:
        return self.data_dir / "logs"

    def forget(self) -> None:
        """Remove the data of an earlier stack from the data directory. Otherwise its jobs would run first. Models stay cached."""
        for name in ("redis", "models", "worker/spool", "worker/state"):
            shutil.rmtree(self.data_dir / name, ignore_errors=True)
        for file in self.data_dir.glob(f"{DATABASE}*"):  # including SQLite's -wal and -shm files
            file.unlink()

    def close_to_others(self) -> None:
        """Make the files of earlier starts unreadable to other users, if this start has a token or listens beyond the loopback.

        An earlier start without a token may have left readable files. The mode of the data directory itself is not changed, because the
        user may have named any directory.
        """
        if not self._guarded:
            return
        for folder in ("redis", "models", "worker", "logs"):
            if (path := self.data_dir / folder).is_dir() and not path.is_symlink():
                path.chmod(0o700)
        for file in self.data_dir.glob(f"{DATABASE}*"):  # SQLite creates its -wal and -shm files with the mode of the database
            file.chmod(0o600)

    def check_needs(self) -> None:
        """Check everything that the parts need from outside: folders, ports, the user's Redis and database. This takes at most 3 s.

        Raises:
            FleetmarkError: something is missing. If several things are, the message names all of them.
        """
        plan = self.plan
        checks: dict[str, Callable[[], object]] = {
            "the data directory": lambda: require_writable(self.data_dir, "FLEETMARK_DATA_DIR"),
            "the outputs folder": lambda: require_writable(plan.outputs_dir.resolve(), "FLEETMARK_OUTPUTS_DIR"),
            "the port of the API": lambda: require_free(plan.bind, self.port),
        }
        if plan.redis_url is None:
            checks["the Redis server program"] = _require_redis_server
            if plan.redis_port:
                checks["the port of Redis"] = lambda: require_free(plan.bind, plan.redis_port, "--redis-port")
        else:
            url = plan.redis_url
            checks[f"the Redis at {shown_place(url)} (FLEETMARK_REDIS_URL)"] = lambda: require_redis(url, plan.ca_file)
        if plan.database_url is not None:
            database = plan.database_url
            checks[f"the database {shown_database(database)} (FLEETMARK_DATABASE_URL)"] = lambda: require_database(database)
        errors = [Unreachable(error.detail) if isinstance(error, Unavailable) else error for error in failed_checks(checks)]
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise type(errors[0])("; ".join(error.detail for error in errors))

    def start_redis(self) -> None:
        """Start a Redis, unless one is configured. It asks for a password if other users or the network must be kept out.

        Raises:
            PartFailed: the port is taken, there is no Redis server program, or Redis did not start.
        """
        if self.plan.redis_url is not None:
            return
        port = self.plan.redis_port or free_port()
        require_free(self.plan.bind, port, "--redis-port")
        folder = self.data_dir / "redis"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        password = secrets.token_hex(24) if self._guarded else ""
        bind = EVERY_BIND if self.plan.bind == "::" else self.plan.bind
        settings = [f"port {port}", f"bind {bind}", f"dir {quoted(str(folder))}", "appendonly yes", 'save ""']
        if password:
            settings.append(f"requirepass {password}")
        configuration = folder / "redis.conf"
        configuration.touch(mode=0o600)
        configuration.write_text("\n".join(settings) + "\n")
        binary = _require_redis_server()
        # Other devices receive this address too. A worker replaces a loopback name in it by the orchestrator's name.
        self.redis_url = f"redis://{f':{password}@' if password else ''}{in_url(self._own_name)}:{port}/0"
        self._gives_logins = bool(password) and has_selectors(binary)
        part = self._launch("redis", [str(binary), named_exactly(configuration)])
        part.wait_until(lambda: pings(self._own_name, port, password))

    def start_orchestrator(self) -> None:
        """Start API, consumer and watch in one process. It migrates its database itself.

        Raises:
            PartFailed: the port is taken.
        """
        require_free(self.plan.bind, self.port)
        command = ["orchestrator.cli", "serve", "--host", self.plan.bind, "--port", str(self.port)]
        self._orchestrator = self._launch("orchestrator", [*PYTHON, *command])

    def wait_for_orchestrator(self) -> None:
        """Return when the API is healthy.

        Raises:
            PartFailed: the process ended first, or was not healthy in time. The message says what is wrong, and has the end of its log.
        """
        degraded_since: float | None = None

        def is_healthy(client: Client) -> bool:
            nonlocal degraded_since
            try:
                health = client.health()
            except Unreachable:
                return False
            if health["status"] == "healthy":
                return True
            now = self._clock.monotonic()
            degraded_since = now if degraded_since is None else degraded_since
            if now - degraded_since > DEGRADED_S:
                raise self._orchestrator.failure(f"cannot work: {problems_of(health)}")
            return False

        with self.client() as client:
            self._orchestrator.wait_until(lambda: is_healthy(client))

    def client(self) -> Client:
        """Make a client of this stack's orchestrator. It uses no proxy, because the orchestrator runs on this machine."""
        return Client(self.host, self.plan.token, self.plan.ca_file, direct=True)

    def start_worker(self) -> None:
        """Start a worker. It need not wait for the orchestrator: it registers as soon as the orchestrator answers."""
        command = ["worker.cli", "start", "--host", self.host, "--http-port", "0"]
        self._worker_started_at = self._clock.now().timestamp()
        # The worker gets the broker's address without a login. The orchestrator gives it the login when it enrols.
        self._worker = self._launch("worker", [*PYTHON, *command], REDIS_URL=with_login(self.redis_url, ""))

    def wait_for_worker(self) -> None:
        """Return when a worker has sent a heartbeat since `start_worker`.

        Raises:
            PartFailed: the worker of this stack ended first, or took too long. The message has the end of its log.
        """
        with self.client() as client:
            self._worker.wait_until(lambda: _has_worker(client, self._worker_started_at))

    def announce(self) -> None:
        """Write the broker's address to a file where other commands on this machine find it. `stop` removes the file."""
        self._announcement.touch(mode=0o600)
        self._announcement.write_text(json.dumps({"host": self.host, "redis_url": self.redis_url}))

    @property
    def _announcement(self) -> Path:
        return self.data_dir / "running.json"

    @staticmethod
    def announced_redis_url(data_dir: Path) -> str | None:
        """Return the address of the broker of the stack that runs in `data_dir`, if one runs there.

        A killed stack leaves its file behind. So the file counts only while a process holds the lock on the directory.

        Raises:
            InvalidInput: the file or the lock cannot be read, for example because they belong to another user.
        """
        announcement = data_dir / "running.json"
        try:
            content = json.loads(announcement.read_bytes())
            url = content.get("redis_url") if isinstance(content, dict) else None
            return url if isinstance(url, str) and url and _is_in_use(data_dir) else None
        except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
            return None  # nothing is announced, or the file is just being written
        except OSError as error:
            file = error.filename or announcement
            raise InvalidInput(f"{file} cannot be read: {error.strerror}; name the broker with FLEETMARK_REDIS_URL") from error

    def check(self) -> None:
        """Check that all parts run.

        Raises:
            PartFailed: a part has ended by itself.
        """
        for part in self.parts:
            if not part.is_running():
                raise part.failure("ended by itself")

    def stop(self) -> None:
        """Stop the parts in reverse order of their start."""
        self._announcement.unlink(missing_ok=True)
        while self.parts:
            self.parts[-1].stop()
            self.parts.pop()

    def _launch(self, name: str, command: list[str], **values: str) -> Part:
        part = Part(name, command, self._environment(**values), self.logs / f"{name}.log", self._clock, private=self._guarded)
        self.parts.append(part)
        part.start()
        return part

    def _environment(self, **more: str) -> dict[str, str]:
        data = self.data_dir
        values = {
            "HOST": self.plan.bind,
            "PORT": str(self.port),
            "REDIS_URL": self.redis_url,
            "DATABASE_URL": self.plan.database_url or sqlite_url(data / DATABASE),
            "OUTPUTS_DIR": str(self.plan.outputs_dir.resolve()),
            "MODELS_DIR": str(data / "models"),
            "WORKER_STATE_DIR": str(data / "worker" / "state"),
            "WORKER_SPOOL_DIR": str(data / "worker" / "spool"),
            "WORKER_CACHE_DIR": str(data / "worker" / "cache"),
        }
        if self.plan.heartbeat_s is not None:
            values["HEARTBEAT_S"] = str(self.plan.heartbeat_s)
        if self.plan.log_format is not None:
            values["LOG_FORMAT"] = self.plan.log_format
        if self.plan.token:
            values["TOKEN"] = self.plan.token
        if self._gives_logins:
            values["BROKER_LOGINS"] = "true"
        named = {PREFIX + name: value for name, value in (values | more).items()} | self._without_proxy()
        # If the API listens only on the loopback, only users of this machine can submit jobs. They can reach private addresses anyway, so
        # the worker may fetch models from these (docs/why/untrusted-input.md).
        local = {PREFIX + "WORKER_ALLOW_PRIVATE_URLS": "true"} if is_loopback(self.plan.bind) else {}
        return child_environment(without=None if self.plan.inherit else PREFIX, defaults=local, **named)

    def _without_proxy(self) -> dict[str, str]:
        """Return the variable `NO_PROXY` for the parts, with the orchestrator's name added, so that they reach it without a proxy."""
        proxies = getproxies_environment()
        if not proxies or is_this_machine(self._own_name):
            return {}
        return dict.fromkeys(("NO_PROXY", "no_proxy"), ",".join(filter(None, [proxies.get("no"), self._own_name])))


@contextlib.contextmanager
def running_stack(plan: Plan, clock: Clock | None = None) -> Iterator[Stack]:
    """Make a stack, and stop it when the `with` block ends for any reason. This function starts no part.

    Raises:
        InvalidInput: this system has no file locks (Windows), or the data directory cannot be used.
        PartFailed: another stack uses the same data directory.
    """
    with _only_user_of(plan.data_dir):
        stack = Stack(plan, clock or SystemClock())
        try:
            stack.close_to_others()
            yield stack
        finally:
            stack.stop()


@contextlib.contextmanager
def _only_user_of(folder: Path) -> Iterator[None]:
    """Hold a lock on the data directory within a `with` block. Two Redis servers would destroy their common append-only file.

    The operating system releases the lock when the process ends.

    Raises:
        InvalidInput: this system has no file locks (Windows), or the folder cannot be used.
        PartFailed: another process holds the lock.
    """
    try:
        import fcntl
    except ImportError as error:
        raise InvalidInput(
            "`fleetmark up` and `fleetmark demo` run on Linux and macOS; on Windows run them in WSL, and use every other command as it is"
        ) from error
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock: IO[str] = (folder / "lock").open("w")
    except OSError as error:
        raise InvalidInput(f"{folder} cannot be used: {error.strerror}; name another with FLEETMARK_DATA_DIR") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PartFailed(
                f"{folder} is in use by another `fleetmark`; stop that one, or name another with FLEETMARK_DATA_DIR"
            ) from error
        yield


def _is_in_use(folder: Path) -> bool:
    """Return whether a process holds the lock of `_only_user_of`. On a system without file locks, no stack can run."""
    try:
        import fcntl
    except ImportError:
        return False
    with (folder / "lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def problems_of(health: Mapping[str, Any]) -> str:
    """Return what a report on the orchestrator's health complains of, as one line of text."""
    parts = {name: health.get(name, {}) for name in ("redis", "database")}
    away = [f"its {name} does not answer" for name, part in parts.items() if not part.get("connected")]
    return "; ".join([*away, *(str(problem) for part in parts.values() for problem in part.get("problems", []))])


def _require_redis_server() -> Path:
    try:
        return find_redis_server()
    except FileNotFoundError as error:
        raise PartFailed(str(error)) from error


def _has_worker(client: Client, since: float) -> bool:
    from shared.workers import WorkerStatus  # imported here, because other commands do not need pydantic, which is slow to import

    try:
        workers = list(client.pages("workers", "workers", status=WorkerStatus.ACTIVE.value))
    except Unreachable:
        return False
    return any(datetime.fromisoformat(worker["last_seen"]).timestamp() >= since for worker in workers)
