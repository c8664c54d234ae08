"""Tests `fleetmark` in unusual surroundings: the user's own modules in the folder, a proxy, IPv6, any folder name."""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import httpx
import psutil
import pytest

from tests.e2e.processes import MARK as MARK_OF_COMMAND
from tests.e2e.processes import SMALL_RECIPE, InstalledCommand, wait_until
from tests.proxy_server import proxy_server
from tests.servers import free_port, speaks_ipv6

# These are names of files that a Celery user may have in the folder, and names that our own processes import.
MODULES = (
    *("worker", "shared", "orchestrator", "cli", "celery", "redis", "kombu", "tasks", "celeryconfig", "flowerconfig"),
    *("json", "typer", "onnxruntime", "numpy", "alembic", "sqlalchemy", "uvicorn", "sitecustomize"),
)
MARK = "was_run"
T = TypeVar("T")


def folder_of_modules(path: Path) -> Path:
    """Return a folder in which every module records that it was run, and then fails."""
    path.mkdir()
    for name in MODULES:
        mark = f"open({str(path / MARK)!r}, 'a').write('{name} ')"
        (path / f"{name}.py").write_text(f"{mark}\nraise SystemExit('{name}.py of the current folder was run')\n")
    return path


def was_run(folder: Path) -> str:
    return (folder / MARK).read_text() if (folder / MARK).exists() else ""


def telemetry_of_guards(up: InstalledCommand) -> set[str | None]:
    """Return the telemetry setting of each process that imports the runtimes.

    Without this setting, ONNX Runtime connects to its maker after some seconds.
    """
    found = (process for process in psutil.process_iter() if "worker.runner" in " ".join(_told(process.cmdline, [])))
    nothing: dict[str, str] = {}
    environments = [_told(process.environ, nothing) for process in found]
    return {environment.get("ORT_DISABLE_TELEMETRY") for environment in environments if environment.get(MARK_OF_COMMAND) == up.mark}


def _told(ask: Callable[[], T], otherwise: T) -> T:
    try:
        return ask()
    except psutil.Error:  # the process has ended, or belongs to another user
        return otherwise


BIND, HERE = ("::", "[::1]") if speaks_ipv6() else ("0.0.0.0", "127.0.0.1")


def test_everything_starts_and_measures_in_a_folder_of_other_modules_behind_a_proxy_on_every_address(tmp_path: Path) -> None:
    folder, port, token = folder_of_modules(tmp_path / "mine"), free_port(), secrets.token_hex(16)
    data = tmp_path / "what?" / '100%41 #1 [x] "ü" \\'
    (folder / "small.yaml").write_text(SMALL_RECIPE)
    with proxy_server() as proxy:
        settings = proxy.environment(NO_PROXY="::1/128, fd00::/8, [::1]") | {
            "FLEETMARK_TOKEN": token,
            "FLEETMARK_DATA_DIR": str(data),
            "FLEETMARK_PORT": str(port),
            "FLEETMARK_WORKER_LOCK_FILE": str(tmp_path / "mine" / "measure.lock"),
        }
        up = InstalledCommand(folder, "up", "--bind", BIND, **settings)
        try:
            wait_until(lambda: "Fleetmark is up" in up.out(), up, timeout_s=120)
            for name in {HERE, "127.0.0.1"}:
                assert httpx.get(f"http://{name}:{port}/api/health", trust_env=False, verify=False).json()["status"] == "healthy"
            run = InstalledCommand(folder, "run", "small.yaml", "--watch", "--json", "--host", BIND, **settings)
            try:
                assert run.wait(60) == 0, run.err()
            finally:
                run.end()
            assert telemetry_of_guards(up) == {"1"}
            assert json.loads(run.out())["campaign"]["completed_jobs"] == 1
        finally:
            up.process.terminate()
            up.wait()
            up.end()
        assert proxy.asked == []
    up.assert_leaves_nothing()
    with sqlite3.connect((data / "fleetmark.db").as_uri() + "?mode=ro", uri=True) as database:
        assert database.execute("SELECT count(*) FROM jobs").fetchone() == (1,)
    database.close()
    assert (data / "redis" / "appendonlydir").is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "what?"]
    assert was_run(folder) == ""


@pytest.mark.parametrize(
    "command",
    [
        ["fleetmark", "worker", "validate", "--json"],
        ["fleetmark", "worker", "info", "--json"],
        ["fleetmark", "doctor", "--json"],
        ["fleetmark", "redis-acl"],
        ["python", "-P", "-m", "worker.cli", "info", "--json"],
    ],
    ids=" ".join,
)
def test_no_command_runs_a_module_of_the_current_folder(tmp_path: Path, command: list[str]) -> None:
    folder = folder_of_modules(tmp_path / "mine")
    done = _run(folder, command, tmp_path)
    assert done.stdout, done.stderr
    assert was_run(folder) == ""


@pytest.mark.parametrize("command", [["worker.cli", "info", "--json"], ["orchestrator.cli", "--help"]], ids=" ".join)
def test_python_takes_only_the_module_that_is_started_by_name_from_the_current_folder(tmp_path: Path, command: list[str]) -> None:
    """Only the first module that Python starts by name can come from the current folder.

    `python -m worker.cli` runs a `worker.py` of that folder before any of our code (`python -P -m` does not). All later imports find our
    modules.
    """
    folder = folder_of_modules(tmp_path / "mine")
    for name in ("worker", "orchestrator"):
        (folder / f"{name}.py").unlink()
    done = _run(folder, ["python", "-m", *command], tmp_path)
    assert done.stdout, done.stderr
    assert was_run(folder) == ""


def test_flower_runs_no_module_and_no_settings_of_the_current_folder(tmp_path: Path) -> None:
    folder, port = folder_of_modules(tmp_path / "mine"), free_port()
    flower = InstalledCommand(
        folder, "flower", "--redis-url", "redis://127.0.0.1:1/0", "--port", str(port), FLOWER_UNAUTHENTICATED_API="true"
    )

    def answers() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/healthcheck", timeout=5, trust_env=False, verify=False).is_success
        except httpx.TransportError:
            return False

    try:
        wait_until(answers, flower, timeout_s=60)
    finally:
        flower.end()
    assert was_run(folder) == ""


def _run(folder: Path, command: list[str], home: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name(command[0]) if command[0] == "fleetmark" else Path(sys.executable)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("FLEETMARK_", "PYTHON"))}
    places = {"FLEETMARK_WORKER_STATE_DIR": str(home / "state"), "FLEETMARK_WORKER_CACHE_DIR": str(home / "cache")}
    return subprocess.run(
        [program, *command[1:]], check=False, cwd=folder, env=environment | places, capture_output=True, text=True, timeout=120
    )
