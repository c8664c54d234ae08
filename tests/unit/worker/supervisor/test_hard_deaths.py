"""Tests deaths that are hard to detect: refused memory, lost output, and guards that are dead or stopped."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from shared.engine_options import EngineOptions
from tests.control_groups import Memory
from tests.measuring import LIGHT_MODELS, Stages, assignment, is_gone, lines_of, log_for, schedule, supervisor
from worker.supervisor import Supervisor

LIMIT_BYTES = 192 * 2**20
HUNGRY_MB = 512


@pytest.fixture(scope="module", params=["forked", "spawned"])
def measurer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisor]:
    with supervisor(tmp_path_factory.mktemp("measurer"), spawn=request.param == "spawned") as made:
        yield made


def guard_of(measurer: Supervisor, folder: Path) -> psutil.Process:
    """Return the process of the guard. It is found through a runner that the guard has started."""
    pids = folder / "guard-pids"
    parents: set[int] = set()

    def look(stage: str, _progress: float | None) -> None:
        if stage.endswith("measuring"):
            parents.add(psutil.Process(int(pids.read_text())).ppid())

    outcome = measurer.run(assignment(schedule(folder, sleeps_s=[0.1], note_pid_in=str(pids))), look)
    assert outcome.status == "complete", outcome.error
    return psutil.Process(parents.pop())


def still_measures(measurer: Supervisor, folder: Path) -> None:
    outcome = measurer.run(assignment(schedule(folder, calls_s=[0.001])), Stages())
    assert outcome.status == "complete", outcome.error


def test_a_model_that_closes_its_output_is_measured_all_the_same(measurer: Supervisor, tmp_path: Path) -> None:
    outcome = measurer.run(assignment(schedule(tmp_path, calls_s=[0.001], then="close_output", at_call=1)), Stages())
    assert outcome.status == "complete", outcome.error
    still_measures(measurer, tmp_path)


def test_endless_output_does_not_fill_the_memory_of_the_guard(measurer: Supervisor, tmp_path: Path) -> None:
    guard = guard_of(measurer, tmp_path)
    before = guard.memory_info().rss
    outcome = measurer.run(assignment(schedule(tmp_path, then="chatter:binary"), timeout_s=2), Stages())
    assert outcome.error_kind == "deadline_exceeded"
    assert guard.memory_info().rss - before < 16 * 2**20


def test_a_device_that_failed_in_the_measured_process_is_reported_as_that(measurer: Supervisor, tmp_path: Path) -> None:
    outcome = measurer.run(assignment(schedule(tmp_path, then="device:the GPU is lost", at_call=1)), Stages())
    assert (outcome.status, outcome.error_kind) == ("failed", "worker_error")  # the orchestrator tries such a job again
    assert "the GPU is lost" in outcome.error


def test_a_crash_after_much_output_is_told_with_its_last_lines_and_no_more(measurer: Supervisor, tmp_path: Path) -> None:
    said = "\n".join(f"line {number}" for number in range(100_000))
    work = assignment(schedule(tmp_path, prints=said, then="crash:SIGABRT", at_call=1))
    job_log = log_for(work)
    outcome = measurer.run(work, Stages(), job_log)
    assert "killed by SIGABRT: native code gave up; its last words say why; its last output:" in outcome.error
    assert outcome.error.endswith("\nline 99999")
    assert len(outcome.error) < 20_000
    assert any("line 99999" in line["message"] for line in lines_of(job_log) if line["source"] == "application")


def test_more_threads_than_cores_are_slow_and_no_failure(measurer: Supervisor) -> None:
    threads = 4 * (os.cpu_count() or 1)
    work = assignment(
        LIGHT_MODELS / "light_squeezenet.onnx", capability="cpu.onnx", inferences=2, options=EngineOptions(threads=threads), timeout_s=120
    )
    outcome = measurer.run(work, Stages())
    assert outcome.status == "complete", outcome.error
    assert outcome.runtime["process_threads"] >= threads


def test_memory_that_the_system_refuses_fails_the_job_by_name(measurer: Supervisor, tmp_path: Path) -> None:
    """A limited address space stands for a device without overcommit."""
    guard = guard_of(measurer, tmp_path)
    room = guard.memory_info().vms + 256 * 2**20
    resource.prlimit(guard.pid, resource.RLIMIT_AS, (room, resource.RLIM_INFINITY))
    try:
        outcome = measurer.run(assignment(schedule(tmp_path, allocate_on_load_mb=4096)), Stages())
    finally:
        resource.prlimit(guard.pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert (outcome.status, outcome.error_kind) == ("failed", "runner_died")
    assert "Cannot allocate memory" in outcome.error
    still_measures(measurer, tmp_path)


@pytest.mark.cgroups
def test_the_memory_killer_is_named_where_the_kernel_counts_its_kills(tmp_path: Path) -> None:
    with supervisor(tmp_path) as made, Memory(f"fleetmark-test-{os.getpid()}") as group:
        guard = guard_of(made, tmp_path)
        group.limit(LIMIT_BYTES)
        group.add(guard.pid)
        outcome = made.run(assignment(schedule(tmp_path, allocate_on_load_mb=HUNGRY_MB)), Stages())
        assert (outcome.status, outcome.error_kind) == ("failed", "runner_died")
        assert "killed by the kernel's out-of-memory killer" in outcome.error
        assert guard.is_running()
        still_measures(made, tmp_path)


def test_a_killed_guard_leaves_no_grandchild_either(tmp_path: Path) -> None:
    left = tmp_path / "grandchild"
    with supervisor(tmp_path) as made:
        guard = guard_of(made, tmp_path)
        work = assignment(schedule(tmp_path, then="spawn", at_call=4, pid_file=str(left), sleeps_s=[0.05]), inferences=10_000)

        def kill_the_guard(stage: str, _progress: float | None) -> None:
            if stage.endswith("measuring"):
                until = time.monotonic() + 30
                while not (left.exists() and left.read_text()) and time.monotonic() < until:
                    time.sleep(0.01)
                guard.kill()

        outcome = made.run(work, kill_the_guard)
        assert "the guard process ended" in outcome.error
        assert is_gone(int(left.read_text()))
        still_measures(made, tmp_path)


def test_a_guard_that_stands_still_costs_its_job_and_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.supervisor.process_run.REAP_PATIENCE_S", 1.0)
    pids = tmp_path / "pids"
    with supervisor(tmp_path) as made:
        guard = guard_of(made, tmp_path)
        work = assignment(schedule(tmp_path, then="hang", at_call=4, note_pid_in=str(pids)), timeout_s=2)
        outcome = made.run(work, lambda stage, _: os.kill(guard.pid, signal.SIGSTOP) if stage.endswith("measuring") else None)
        assert outcome.error_kind == "deadline_exceeded"
        assert is_gone(guard.pid)
        assert is_gone(int(pids.read_text().split()[-1]))
        still_measures(made, tmp_path)
