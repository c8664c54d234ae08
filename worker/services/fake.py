"""Starts a server that only tests use: a program of a few lines that listens, and whose mistakes are settings."""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from worker.services.base import LOOPBACK, Command, Container, NotHealthy, Place

PROGRAM = """
import socket, sys, time
port, says, lives_s, listens = int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), sys.argv[4] == "yes"
print(says, flush=True)
end = time.monotonic() + lives_s
server = socket.create_server(("127.0.0.1", port)) if listens else None
if server is not None:
    server.settimeout(0.05)
while time.monotonic() < end:
    try:
        if server is None:
            time.sleep(0.05)
        else:
            server.accept()[0].sendall(b"ready")
    except TimeoutError:
        pass
print("the end", flush=True)
sys.exit(3)
"""


class FakeService:
    """Implements `worker.services.base.Service`: `says` is printed, `lives_s` is how long it runs, `listens` whether it gets healthy."""

    needs_other_user = False

    def version(self) -> str:
        return "fake 1"

    def check(self, settings: Mapping[str, Any]) -> None:
        del settings

    def data_parent(self, settings: Mapping[str, Any]) -> Path | None:
        return Path(settings["data_dir"]) if settings.get("data_dir") else None

    def prepare(self, settings: Mapping[str, Any], place: Place) -> Sequence[Command]:
        if settings.get("prepare_fails"):
            return (Command([sys.executable, "-c", "import sys; sys.exit('cannot be prepared')"]),)
        return ()

    def command(self, settings: Mapping[str, Any], place: Place) -> Command:
        facts = [str(settings.get("says", "here")), str(settings.get("lives_s", 60)), "yes" if settings.get("listens", True) else "no"]
        return Command([sys.executable, "-I", "-S", "-c", PROGRAM, str(place.port), *facts])

    def container(self, settings: Mapping[str, Any], port: int, connections: int) -> Container:
        del settings, connections
        return Container(["serve", str(port)], "/data", {"MODE": "fake"})

    def address(self, settings: Mapping[str, Any], port: int) -> str:
        del settings
        return f"fake://{LOOPBACK}:{port}"

    def health(self, settings: Mapping[str, Any], port: int) -> None:
        del settings
        try:
            with socket.create_connection((LOOPBACK, port), timeout=1) as connection:
                if connection.recv(5) != b"ready":
                    raise NotHealthy("it did not say that it is ready")
        except OSError as error:
            raise NotHealthy(str(error)) from error

    def metrics(self, settings: Mapping[str, Any], port: int) -> dict[str, Any]:
        del settings, port
        return {}
