"""Tests how the first token is made on a server that is open to the network, and how the last one is revoked."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests.servers import free_port

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120.0


class Machine:
    """Runs `python -m orchestrator.cli` on its own database in a folder. There is no Redis, because these tests need none."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("FLEETMARK_")},
            "FLEETMARK_DATABASE_URL": f"sqlite:///{folder / 'fleetmark.db'}",
            "FLEETMARK_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
        }
        self.server: subprocess.Popen[bytes] | None = None

    def orchestrator(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "orchestrator.cli", *arguments]
        ended = subprocess.run(
            command, check=False, capture_output=True, text=True, env=self.environment, cwd=self.folder, timeout=PATIENCE_S
        )
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended

    def serve(self) -> None:
        command = [sys.executable, "-m", "orchestrator.cli", "serve", "--only-api", "--host", "0.0.0.0", "--port", str(self.port)]
        self.server = subprocess.Popen(command, env=self.environment, cwd=self.folder, stderr=subprocess.DEVNULL)
        self.until(200, "/api/tokens/current")

    def ask(self, path: str, token: str = "") -> int:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}{path}", headers=headers, trust_env=False, timeout=30, verify=False).status_code
        except httpx.TransportError:
            return 0

    def until(self, status: int, path: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while self.ask(path, self.token) != status:
            assert self.server is not None
            assert self.server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)

    token = ""


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    if made.server is not None:
        made.server.terminate()
        made.server.wait(30)


@pytest.mark.long
def test_the_first_token_is_made_on_the_machine_and_the_last_one_leaves_the_door_closed(machine: Machine) -> None:
    serve = ("serve", "--only-api", "--host", "0.0.0.0", "--port", str(machine.port))
    said = " ".join(machine.orchestrator(*serve, code=2).stderr.replace("│", "").split())  # the database does not even have a table
    assert "export FLEETMARK_TOKEN=" in said
    assert "token create me --role admin" in said
    machine.orchestrator("migrate")
    machine.orchestrator(*serve, code=2)

    machine.orchestrator("token", "create", "me\x1b[2J", "--role", "admin", code=2)
    made = machine.orchestrator("token", "create", "me", "--role", "admin")
    machine.token = made.stdout.strip()
    assert machine.token.startswith("fleetmark_")
    assert machine.token not in made.stderr
    machine.serve()
    assert machine.ask("/api/tokens/current") == 401
    assert machine.ask("/api/tokens", machine.token) == 200

    listed = machine.orchestrator("token", "list").stdout
    assert re.fullmatch(r"token-\w+  admin      \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z  me\n", listed)
    assert machine.token not in listed
    assert "revoked" in machine.orchestrator("token", "revoke", listed.split()[0]).stdout
    machine.until(401, "/api/tokens")  # another process wrote the token, so it is accepted after some seconds
    assert machine.ask("/api/tokens") == 401  # no token is left, but access is still refused


@pytest.mark.long
def test_the_worker_of_the_compose_file_is_given_a_workers_token_once(machine: Machine) -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    file = machine.folder / "worker.token"
    shell, option, script = services["worker-token"]["command"]
    script = script.replace("$$", "$").replace(services["worker"]["environment"]["FLEETMARK_TOKEN_FILE"], str(file))
    variables = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}

    def start() -> int:
        environment = machine.environment | variables
        return subprocess.run([shell, option, script], check=False, env=environment, cwd=machine.folder, timeout=PATIENCE_S).returncode

    (machine.folder / "fleetmark.db").write_text("no database")
    assert start() != 0
    assert not file.exists()  # a partly written token would be accepted as a token from then on
    (machine.folder / "fleetmark.db").unlink()
    machine.orchestrator("migrate")
    assert (start(), file.stat().st_mode & 0o777) == (0, 0o600)
    machine.token = file.read_text().strip()
    assert (start(), file.read_text().strip()) == (0, machine.token)
    assert len(machine.orchestrator("token", "list").stdout.splitlines()) == 1
    machine.orchestrator("token", "create", "me", "--role", "admin")
    machine.serve()
    assert machine.ask("/api/campaigns", machine.token) == 403
