"""Tests each command without the modules that Windows lacks, in a process that cannot import them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.scripted_server import ScriptedServer

UNIX_ALONE = ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog")
CLIENT_COMMANDS = (
    *("run", "validate", "list", "show", "watch", "results", "stop", "workers", "queues", "jobs"),
    *("token create", "token list", "token revoke", "doctor", "flower", "redis-acl", "up", "demo"),
)
WITHOUT_THEM = f"""
import importlib.abc, os, signal, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in {UNIX_ALONE!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

for name in {UNIX_ALONE!r}:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Absent())
for name in ("SIGHUP", "SIGKILL", "SIGCHLD"):
    delattr(signal, name)
for name in ("killpg", "fork", "getuid", "setsid", "mkfifo"):
    delattr(os, name)
"""


def _windows_like(*arguments: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    code = f"{WITHOUT_THEM}\nsys.argv = ['fleetmark', *{arguments!r}]\nfrom cli.main import main; main()"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLEETMARK_")}
    command = [sys.executable, "-P", "-c", code]
    return subprocess.run(command, check=False, cwd=folder, env=kept | variables, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("command", [CLIENT_COMMANDS[0], *(pytest.param(name, marks=pytest.mark.long) for name in CLIENT_COMMANDS[1:])])
def test_every_command_is_there(tmp_path: Path, command: str) -> None:
    done = _windows_like(*command.split(), "--help", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage" in done.stdout


def test_a_client_submits(tmp_path: Path, server: ScriptedServer) -> None:
    (tmp_path / "recipe.yaml").write_text("name: small\nmodel: https://models.example/m.onnx\non: [cpu.onnx]\n")
    server.on("POST /api/campaigns", {"campaign_id": "campaign-1", "total_jobs": 1, "jobs": [], "warnings": []}, status=201)
    done = _windows_like("run", "recipe.yaml", "--host", server.url, folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "campaign-1: 1 job\n"), done.stderr


@pytest.mark.parametrize("command", ["up", "demo"])
def test_what_needs_unix_says_so(tmp_path: Path, command: str) -> None:
    (tmp_path / "recipe.yaml").write_text("name: small\nmodel: https://models.example/m.onnx\non: [cpu.onnx]\n")
    done = _windows_like(command, *(["recipe.yaml"] if command == "demo" else []), folder=tmp_path)
    assert done.returncode == 2
    assert "on Windows run them in WSL" in done.stderr
    assert "Traceback" not in done.stderr
