"""Tests that a server ends with the worker that started it, and that its last output is known."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from worker.launchers.kept import Kept, KeptServer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux alone ends the children of a killed process")

# This program starts a server that has a child in a session of its own, as PostgreSQL has, and then waits to be killed.
WORKER = """
import os, sys, time
from worker.launchers.kept import Kept, KeptServer
folder, program = sys.argv[1:]
server = KeptServer(Kept([sys.executable, "-c", program], folder, folder + "/log", dict(os.environ), 15, remove=[folder]))
while not os.path.exists(folder + "/pids"):
    time.sleep(0.01)
print(open(folder + "/pids").read(), server.pid, flush=True)
time.sleep(60)
"""
POLITE = """
import signal, sys, time
signal.signal(15, lambda *_: (print("bye", flush=True), sys.exit(0)))
print("up", flush=True)
time.sleep(60)
"""
SERVER = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
open("part", "w").write(f"{os.getpid()} {child.pid}")
os.rename("part", "pids")
time.sleep(60)
"""


def kept(folder: Path, program: str, grace_s: float = 5.0) -> Kept:
    folder.mkdir()
    words = [sys.executable, "-c", program]
    return Kept(words, str(folder), str(folder / "log"), dict(os.environ), signal.SIGTERM, grace_s=grace_s, remove=[str(folder)])


def wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 10
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids):
        assert time.monotonic() < deadline, [pid for pid in pids if psutil.pid_exists(pid)]
        time.sleep(0.02)


def wait_until_ended(server: KeptServer) -> None:
    deadline = time.monotonic() + 10
    while server.alive:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("victim", ["worker", "keeper"])
def test_nothing_is_left_of_a_server_when_its_worker_or_its_keeper_is_killed(tmp_path: Path, victim: str) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    with subprocess.Popen([sys.executable, "-c", WORKER, str(folder), SERVER], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        server, child, keeper = map(int, worker.stdout.readline().split())
        os.kill(worker.pid if victim == "worker" else keeper, signal.SIGKILL)
        if victim == "worker":
            wait_until_gone([server, child, keeper])
            assert not folder.exists()
        else:
            wait_until_gone([server, keeper])  # the child of a killed server must end by itself, as a process of PostgreSQL does
            os.kill(child, signal.SIGKILL)
        worker.kill()


def test_a_stopped_server_gets_its_signal_and_its_folder_is_deleted(tmp_path: Path) -> None:
    server = KeptServer(kept(tmp_path / "server", POLITE))
    deadline = time.monotonic() + 10
    while server.output() != "up":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    server.stop()
    assert server.output() == "up\nbye"
    assert (server.alive, server.exit_code) == (False, 0)
    assert not (tmp_path / "server").exists()


def test_a_server_that_ignores_its_signal_is_killed_after_the_grace(tmp_path: Path) -> None:
    program = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    server = KeptServer(kept(tmp_path / "server", program, grace_s=0.1))
    while server.output() != "up":
        time.sleep(0.02)
    begin = time.monotonic()
    server.stop()
    assert time.monotonic() - begin < 5
    assert server.exit_code == 128 + signal.SIGKILL


def test_a_server_that_ends_by_itself_leaves_its_last_words_without_logins(tmp_path: Path) -> None:
    server = KeptServer(kept(tmp_path / "server", "import sys; print('no redis://me:secret@host here'); sys.exit(3)"))
    wait_until_ended(server)
    assert server.exit_code == 3
    assert "no redis://***@host here" in server.output()
    assert server.output() == server.output()
    server.stop()
    assert not (tmp_path / "server").exists()


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    plan = kept(tmp_path / "server", "")
    server = KeptServer(Kept(["/no/such/server"], plan.folder, plan.log, {}, signal.SIGTERM, remove=[plan.folder]))
    wait_until_ended(server)
    assert server.exit_code == 127
    assert "/no/such/server cannot be started" in server.output()
    server.stop()
