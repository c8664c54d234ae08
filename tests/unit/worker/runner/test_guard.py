"""Tests that the guard survives every way in which its runners end, and reports how each of them ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import psutil
import pytest

from tests.measuring import Stages, assignment, is_gone, schedule, supervisor
from tests.measuring import request as run_request
from worker.interpreter import ROOT, runner_command
from worker.measured.request import RunRequest
from worker.runner.guard import Reporter, Running
from worker.runner.plan import plan_for
from worker.runner.record_file import read_record
from worker.runner.spawning import SpawningGuard
from worker.supervisor.guard_process import GuardEvent, GuardProcess

FAKE = plan_for("inference", "fake")


@pytest.fixture(params=["forked", "spawned"])
def guard(request: pytest.FixtureRequest) -> Iterator[tuple[GuardProcess, SimpleQueue[GuardEvent]]]:
    inbox: SimpleQueue[Any] = SimpleQueue()
    process = GuardProcess(inbox, FAKE, spawn=request.param == "spawned")
    yield process, inbox
    process.close()


def ask(model: Path, record: Path) -> RunRequest:
    return run_request(model, record, inferences=2)


def exits(inbox: SimpleQueue[GuardEvent], wanted: int) -> dict[int, dict[str, Any]]:
    seen: dict[int, dict[str, Any]] = {}
    while len(seen) < wanted:
        event = inbox.get(timeout=60)
        assert event.event != "lost", event.facts
        if event.event == "exited":
            seen[event.facts["id"]] = event.facts
    return seen


def test_it_outlives_runners_that_end_in_the_middle_of_a_line(guard: tuple[GuardProcess, SimpleQueue[GuardEvent]], tmp_path: Path) -> None:
    """Output, phases and the end of several runners come at once. No pipe may be read after it was closed."""
    process, inbox = guard
    rounds, together = (8, 4) if process.spawned is False else (1, 4)
    talkative = schedule(tmp_path, prints="x" * 3000, then="exit:3", at_call=1)
    for turn in range(rounds):
        numbers = [turn * together + place for place in range(together)]
        for number in numbers:
            process.run(number, ask(talkative, tmp_path / f"{number}.record"))
        ended = exits(inbox, together)
        assert sorted(ended) == numbers
        assert {facts["code"] for facts in ended.values()} == {3}
        assert {len(facts["output"]) for facts in ended.values()} == {3000}
    assert process.alive


def test_a_kill_names_its_own_signal_and_touches_no_other_run(guard: tuple[GuardProcess, SimpleQueue[GuardEvent]], tmp_path: Path) -> None:
    process, inbox = guard
    process.run(1, ask(schedule(tmp_path, then="hang"), tmp_path / "1.record"))
    process.run(2, ask(schedule(tmp_path, load_s=0.3, calls_s=[0.001]), tmp_path / "2.record"))
    process.kill(1)
    process.kill(99)  # there is no such run, so nothing happens
    ended = exits(inbox, 2)
    assert (ended[1]["signal"], ended[1]["killed_by_us"]) == (9, True)
    assert (ended[2]["code"], ended[2]["signal"]) == (0, None)
    record = read_record(tmp_path / "2.record", 0)
    assert record is not None
    assert len(record.series["inference"].values) == 2


def test_a_runtime_that_crashes_when_it_is_freed_costs_no_record(
    guard: tuple[GuardProcess, SimpleQueue[GuardEvent]], tmp_path: Path
) -> None:
    process, inbox = guard
    process.run(1, ask(schedule(tmp_path, dies_when_freed=True), tmp_path / "1.record"))
    ended = exits(inbox, 1)[1]
    assert (ended["code"], ended["signal"]) == (0, None)
    record = read_record(tmp_path / "1.record", ended["code"])
    assert record is not None
    assert len(record.series["inference"].values) == 2


@pytest.mark.parametrize("spawn", [False, True], ids=["forked", "spawned"])
def test_neither_the_guard_nor_the_measured_process_is_given_a_credential(
    spawn: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = {"FLEETMARK_TOKEN": "t0ken", "FLEETMARK_TOKEN_FILE": "/t", "FLEETMARK_REDIS_URL": "redis://:pw@h:6379/0", "HF_TOKEN": "hf_1"}
    needed = {"LD_LIBRARY_PATH": "/opt/runtime/lib", "OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": "0"}
    for name, value in (secret | needed).items():
        monkeypatch.setenv(name, value)
    inbox: SimpleQueue[Any] = SimpleQueue()
    process = GuardProcess(inbox, FAKE, spawn=spawn)
    try:
        process.run(1, ask(schedule(tmp_path, then="hang"), tmp_path / "1.record"))
        started = inbox.get(timeout=60)
        assert started.event == "started"
        measured = inbox.get(timeout=60)  # the first phase shows that it runs
        assert measured.event == "phase"
        for pid in (process.pid, started.facts["pid"]):
            environment = psutil.Process(pid).environ()
            assert not secret.keys() & environment.keys()
            assert environment.items() >= needed.items()
        process.kill(1)
        assert exits(inbox, 1)[1]["signal"] == 9
    finally:
        process.close()


NO_ROOM_FOR_ONE = """
import os, subprocess, sys
from errno import EAGAIN
fork, popen = os.fork, subprocess.Popen
failures = [None, OSError(EAGAIN, "Resource temporarily unavailable")]  # the first process samples beside the measured ones
def once(real):
    def start(*arguments, **options):
        if failures and (failure := failures.pop(0)):
            raise failure
        return real(*arguments, **options)
    return start
os.fork, subprocess.Popen = once(fork), once(popen)
from worker.runner.__main__ import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize("spawn", [False, True], ids=["forked", "spawned"])
def test_a_fork_that_fails_costs_its_job_and_not_the_guard(spawn: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{NO_ROOM_FOR_ONE}"]
    monkeypatch.setattr("worker.supervisor.guard_process.runner_command", lambda *arguments: [*command, *arguments])
    with supervisor(tmp_path, spawn=spawn) as made:
        guard = made._living_guard(FAKE)
        begin = time.monotonic()
        outcome = made.run(assignment(schedule(tmp_path, calls_s=[0.001])), Stages())
        assert (outcome.status, outcome.error_kind) == ("failed", "worker_error")
        assert "no process for repeat 1 of 1 could be started: [Errno 11]" in outcome.error
        assert time.monotonic() - begin < 10, "it waits for the end of no process"
        assert made.run(assignment(schedule(tmp_path, calls_s=[0.001])), Stages()).status == "complete"
        assert made._living_guard(FAKE) is guard


def test_a_guard_that_has_ended_is_not_alive_while_its_reader_waits_for_its_end() -> None:
    """The reader's wait and `poll` exclude each other. Earlier, a job that began in that moment was sent to a dead guard and failed."""
    process = GuardProcess(SimpleQueue(), FAKE)
    process.ready.wait(60)
    with process._process._waitpid_lock:  # type: ignore[attr-defined]  # the reader holds this lock while it waits
        process._process.send_signal(signal.SIGKILL)
        until = time.monotonic() + 10
        while process.alive and time.monotonic() < until:
            time.sleep(0.01)
        alive = process.alive
    process.close()
    assert not alive


def test_a_group_whose_process_was_reaped_is_not_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number may belong to another group by then."""
    killed: list[int] = []
    monkeypatch.setattr(os, "killpg", lambda pid, _number: killed.append(pid))
    guard = SpawningGuard(0, Reporter(1), [])
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        nothing_to_read = threading.Thread(target=lambda: None)
        nothing_to_read.start()
        guard._follow(Running(1, process.pid), process, nothing_to_read)
        assert (process.returncode, killed) == (0, [process.pid])
        guard._kill(process)
        assert killed == [process.pid]


@pytest.mark.parametrize("mode", ["forked", "spawned"])
def test_a_guard_that_nobody_listens_to_ends_its_runner_and_what_that_has_left(mode: str, tmp_path: Path) -> None:
    """This is the state after a `kill -9` of the worker, at a moment when the guard wants to send a message."""
    family = tmp_path / "family"
    kind = "spawn:family" if mode == "forked" else "spawn"  # only a guard that forks finds children in sessions of their own
    model = schedule(tmp_path, then=kind, at_call=0, pid_file=str(family), note_pid_in=str(tmp_path / "runner"), sleeps_s=[0.05])
    asked = run_request(model, tmp_path / "1.record", inferences=40)
    with subprocess.Popen(
        runner_command(",".join(FAKE.preload), *(["--spawn"] if mode == "spawned" else [])),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as guard:
        assert guard.stdin is not None
        assert guard.stdout is not None
        guard.stdin.write(json.dumps({"do": "run", "id": 1, "request": asked.to_json()}).encode() + b"\n")
        guard.stdin.flush()
        until = time.monotonic() + 60
        while len(family.read_text().split() if family.exists() else []) < (2 if mode == "forked" else 1):
            assert time.monotonic() < until
            time.sleep(0.01)
        guard.stdout.close()  # nobody reads the next event, which is the end of the runner
        assert guard.wait(60) == 0
        left = [int(pid) for file in (family, tmp_path / "runner") for pid in file.read_text().split()]
        assert len(left) == (3 if mode == "forked" else 2)
        assert all(is_gone(pid) for pid in left)


def test_no_variable_of_the_guards_own_steers_a_measured_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard imports numpy with one thread. A runtime in the measured process reads the environment as the user left it."""
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    code = "import os; print({name: os.environ.get(name) for name in ('OPENBLAS_NUM_THREADS', 'OMP_NUM_THREADS')})"
    for spawn in (False, True):
        inbox: SimpleQueue[Any] = SimpleQueue()
        process = GuardProcess(inbox, FAKE, spawn=spawn)
        try:
            said = tmp_path / f"environment-{spawn}"
            model = schedule(
                tmp_path, then="run", at_call=0, command=[sys.executable, "-c", f"{code[:-1]}, file=open({str(said)!r}, 'w'))"]
            )
            process.run(1, ask(model, tmp_path / f"{spawn}.record"))
            assert exits(inbox, 1)[1]["code"] == 0
            assert said.read_text().strip() == "{'OPENBLAS_NUM_THREADS': None, 'OMP_NUM_THREADS': '3'}"
            assert process.steering["OMP_NUM_THREADS"] == "3"
        finally:
            process.close()
