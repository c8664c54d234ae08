"""Tests a worker that is stopped (SIGSTOP, Ctrl-Z) while its job is measured. Only the job's own time counts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.measuring import descendants, is_gone, samples

STOPPED_STATES = (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)

WORKER = """
import json, sys
from pathlib import Path
from tests.measuring import NO_WARMUP, assignment, schedule, supervisor

folder = Path(sys.argv[1])
with supervisor(folder, spawn=sys.argv[2] == "spawned") as made:
    model = schedule(folder, **json.loads(sys.argv[3]))
    work = assignment(model, inferences=1, repeats=2, warmup=NO_WARMUP, timeout_s=float(sys.argv[4]))
    outcome = made.run(work, lambda stage, progress: print(stage, flush=True))
    print("ended", json.dumps([outcome.status, outcome.error_kind, outcome.error]), flush=True)
"""


def stopped_for_the_whole_of(timeout_s: float, folder: Path, mode: str, **behaviour: object) -> list[str]:
    """Return status, kind and text of an attempt whose worker is stopped from its first measurement until after its deadline."""
    root = Path(__file__).parents[4]
    command = [sys.executable, "-c", WORKER, str(folder), mode, json.dumps(behaviour), str(timeout_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as worker:
        assert worker.stdout is not None
        assert any("repeat 1 of 2: measuring" in line for line in iter(worker.stdout.readline, ""))
        runners = [pid for pid in descendants(worker.pid)[1:] if not samples(pid)]
        os.kill(worker.pid, signal.SIGSTOP)
        until = time.monotonic() + timeout_s
        while psutil.Process(worker.pid).status() not in STOPPED_STATES:
            time.sleep(0.01)
        if "then" not in behaviour:
            assert all(is_gone(pid, 60) for pid in runners)
        time.sleep(max(0.0, until - time.monotonic()))
        os.kill(worker.pid, signal.SIGCONT)
        (ended,) = [line for line in worker.stdout if line.startswith("ended ")]
    told: list[str] = json.loads(ended.removeprefix("ended "))
    return told


@pytest.mark.parametrize("mode", ["forked", pytest.param("spawned", marks=pytest.mark.long)])
def test_what_ended_in_time_while_the_worker_stood_still_counts_and_the_rest_is_measured(tmp_path: Path, mode: str) -> None:
    assert stopped_for_the_whole_of(6.0, tmp_path, mode, sleeps_s=[0.5])[0] == "complete"


def test_a_crash_while_the_worker_stood_still_is_no_timeout(tmp_path: Path) -> None:
    status, kind, error = stopped_for_the_whole_of(2.0, tmp_path, "forked", sleeps_s=[0.5], prints="x", then="crash:SIGSEGV")
    assert (status, kind) == ("failed", "runner_died")
    assert "killed by SIGSEGV" in error


def test_what_went_on_past_its_time_meanwhile_is_one(tmp_path: Path) -> None:
    status, kind, _ = stopped_for_the_whole_of(2.0, tmp_path, "forked", then="hang")
    assert (status, kind) == ("failed", "deadline_exceeded")
