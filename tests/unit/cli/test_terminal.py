"""Tests that text from outside reaches a terminal without control sequences."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.scripted_server import ScriptedServer

EVIL = "evil\x1b[2J\x1b]0;owned\x07\u202e\x9b2J\r"
JOB: dict[str, Any] = {
    "job_id": "campaign-1-job-1",
    "model": EVIL,
    "compute_unit": EVIL,
    "status": "running",
    "stage": EVIL,
    "progress": 0.5,
    "error": EVIL,
}
CAMPAIGN: dict[str, Any] = {
    "campaign_id": "campaign-1",
    "name": EVIL,
    "status": "running",
    "total_jobs": 1,
    "failed_jobs": 0,
    "created_at": "2026-03-01T12:00:00+00:00",
    "job_breakdown": {"running": 1},
    "jobs": [JOB | {"options": {EVIL: EVIL}}],
}
ROW = {"Status": "Failed", "FileName": EVIL, "DeviceName": EVIL, "ComputeUnits": EVIL, "Error": EVIL}
COMMANDS = [
    *(["results", "campaign-1"], ["results", "campaign-1", "--format", "csv"], ["results", "campaign-1", "--json"]),
    *(["watch", "campaign-1"], ["show", "campaign-1"], ["show", "campaign-1", "--json"], ["list"], ["workers"]),
]


def _on_a_terminal(*arguments: str, host: str) -> str:
    """Return everything that the command writes, with one terminal for both of its output streams."""
    ours, its = pty.openpty()
    environment = {**os.environ, "FLEETMARK_HOST": host, "TERM": "xterm-256color", "COLUMNS": "300", "LINES": "50"}
    command = [sys.executable, "-m", "cli.main", *arguments]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=its, stderr=its, env=environment)
    os.close(its)
    written = b""
    while piece := _read(ours):
        written += piece
    os.close(ours)
    assert process.wait(timeout=60) in (0, 1), written.decode()
    return written.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux raises this error after the last writer has closed the terminal
        return b""


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_what_others_wrote_commands_no_terminal(server: ScriptedServer, command: list[str]) -> None:
    server.on("GET /api/campaigns/campaign-1", CAMPAIGN, CAMPAIGN | {"status": "completed", "failed_jobs": 1})
    server.on("GET /api/campaigns", {"count": 1, "campaigns": [CAMPAIGN], "next_cursor": None})
    server.on("GET /api/jobs", {"count": 1, "jobs": [JOB], "next_cursor": None})
    content = ",".join(ROW.values()) if "csv" in command else json.dumps([ROW] if "--json" in command else ROW)
    server.on("GET /api/campaigns/campaign-1/results", content.encode() + b"\r\n", content_type="text/plain")
    worker = {"worker_id": "worker-1", "device_name": EVIL, "status": EVIL, "capabilities": [EVIL]}
    rest = {"quarantine": {"reason": EVIL, "until": EVIL}}
    server.on("GET /api/workers", {"count": 1, "workers": [worker | rest]})
    written = _on_a_terminal(*command, host=server.url)
    assert "evil\\x1b[2J" in written or "evil\\u001b[2J" in written
    for raw in ("\x1b[2J", "\x1b]0;", "\x07", "\u202e", "\x9b"):
        assert raw not in written


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_stream_without_our_characters_is_no_error(tmp_path: Path, encoding: str) -> None:
    """Windows opens pipes and files with such an encoding."""
    done = _run_raw(["doctor", "--host", "http://127.0.0.1:1"], tmp_path, PYTHONIOENCODING=encoding)
    assert b"Traceback" not in done.stderr
    assert re.search(rb"\? (\S*fleetmark up|port 5000 is taken)", done.stdout)  # a question mark stands in the place of the arrow
    done = _run_raw(["doctor", "--json", "--host", "http://127.0.0.1:1"], tmp_path, PYTHONIOENCODING=encoding, FLEETMARK_DATA_DIR="datä")
    assert "datä" in str(json.loads(done.stdout.decode(encoding)))


def test_output_that_is_closed_is_no_error(tmp_path: Path) -> None:
    for arguments in (["doctor"], ["doctor", "--json"], ["--help"], ["redis-acl"]):
        command = " ".join(shlex.quote(part) for part in [sys.executable, "-m", "cli.main", *arguments])
        done = subprocess.run(["sh", "-c", f"{command} >&- 2>errors"], check=False, cwd=tmp_path, timeout=60)
        assert (tmp_path / "errors").read_text().count("Traceback") == 0
        assert done.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_output_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "cli.main", "doctor", "--host", "http://127.0.0.1:1"]
        done = subprocess.run(command, check=False, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "error: the output cannot be written: No space left on device\n")


def _run_raw(arguments: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[bytes]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLEETMARK_")}
    command = [sys.executable, "-m", "cli.main", *arguments]
    return subprocess.run(command, check=False, cwd=folder, env=kept | variables, capture_output=True, timeout=60)
