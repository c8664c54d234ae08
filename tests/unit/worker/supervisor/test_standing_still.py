"""Tests measured processes that are stopped, frozen or asleep.

The time of a stop is in no sample, and does not count against `timeout_s`.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import psutil
import pytest

from shared.clock import FakeClock
from tests.control_groups import Freezer
from tests.measuring import NO_WARMUP, assignment, lines_of, log_for, samples_of, schedule, supervisor
from worker.runner import stillness
from worker.runner.stillness import BEAT_S, RAN, Stillness, StillnessWatch
from worker.supervisor import Outcome, Supervisor

STILL_S = 1.5  # this is three beats of the guard, which counts a stop that is longer than two beats
CALL_S = 0.02
LONGEST_MS = 1_000.0  # a sample that contains the stop has 1 500 ms; a valid sample has about 20 ms on a busy machine
SPAWNED_LATER = pytest.param("spawned", 60.0, marks=pytest.mark.long)  # the guard and the runner are stopped in this mode, too


def wait_until_stopped(pid: int) -> None:
    while psutil.Process(pid).status() not in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP):
        sleep(0.005)


@contextmanager
def stopped_once(
    pids_file: Path, stop: Callable[[int], None], go_on: Callable[[int], None]
) -> Iterator[Callable[[str, float | None], None]]:
    """Yield an `on_stage` that stops the first process that measures, and returns at once. The process continues after `STILL_S`."""
    threads: list[threading.Thread] = []

    def stand_still(runner: int) -> None:
        sleep(0.1)  # the process is now within the measurement
        stop(runner)
        sleep(STILL_S)
        go_on(runner)

    def on_stage(stage: str, _progress: float | None) -> None:
        if stage.endswith("measuring") and not threads:
            threads.append(threading.Thread(target=stand_still, args=(int(pids_file.read_text().split()[0]),)))
            threads[0].start()

    yield on_stage
    for thread in threads:
        thread.join()


def measured_while(
    made: Supervisor,
    folder: Path,
    stop: Callable[[int], None],
    go_on: Callable[[int], None],
    *,
    timeout_s: float = 60,
    sleeping: bool = True,
) -> tuple[Outcome, list[str]]:
    pids = folder / "pids"
    work = {"sleeps_s": [CALL_S]} if sleeping else {"calls_s": [CALL_S]}
    job = assignment(schedule(folder, note_pid_in=str(pids), **work), inferences=40, repeats=2, warmup=NO_WARMUP, timeout_s=timeout_s)
    job_log = log_for(job)
    with stopped_once(pids, stop, go_on) as on_stage:
        outcome = made.run(job, on_stage, job_log)
    return outcome, [line["message"] for line in lines_of(job_log)]


def longest_ms(outcome: Outcome) -> float:
    return max(float(values.max()) / 1e6 for name, values in samples_of(outcome).items() if name.endswith("inference_ns"))


def repeated(outcome: Outcome, said: list[str]) -> None:
    """Check that both repeats exist, that one process was void, and that no sample contains the stop."""
    assert outcome.status == "complete", outcome.error
    assert outcome.summary is not None
    assert len(outcome.summary.repeats) == 2
    assert longest_ms(outcome) < LONGEST_MS
    assert outcome.noise is not None
    assert outcome.noise.facts["repeats_voided"] == 1
    assert STILL_S - 2 * BEAT_S < outcome.noise.facts["stood_still_s"] < STILL_S + 2
    assert any("stood still for" in reason and "1 void repeat was measured again" in reason for reason in outcome.noise.reasons)
    assert any("repeat 1 of 2 stood still for" in line and "its samples are void" in line for line in said)


@pytest.mark.parametrize(("mode", "timeout_s"), [("forked", 3.2), SPAWNED_LATER])
def test_a_stopped_runner_is_measured_again_and_the_stop_does_not_count_against_its_limit(
    tmp_path: Path, mode: str, timeout_s: float
) -> None:
    """40 calls of 20 ms in each of 2 repeats fit into 3.2 s. With the void repeat and the stop of 1.5 s they would not."""
    stop, go_on = (lambda pid: os.kill(pid, signal.SIGSTOP)), (lambda pid: os.kill(pid, signal.SIGCONT))
    with supervisor(tmp_path, spawn=mode == "spawned") as made:
        repeated(*measured_while(made, tmp_path, stop, go_on, timeout_s=timeout_s))


@pytest.mark.parametrize("mode", ["forked", "spawned"])
def test_a_stopped_guard_and_runner_are_noticed_by_the_guard(tmp_path: Path, mode: str) -> None:
    def both(number: int) -> Callable[[int], None]:
        def send(runner: int) -> None:
            for pid in (psutil.Process(runner).ppid(), runner):
                os.kill(pid, number)

        return send

    with supervisor(tmp_path, spawn=mode == "spawned") as made:
        repeated(*measured_while(made, tmp_path, both(signal.SIGSTOP), both(signal.SIGCONT)))


def test_a_guard_that_was_stopped_alone_voids_nothing_of_a_runner_that_went_on(tmp_path: Path) -> None:
    """The runner used the CPU meanwhile, so its samples are good. How much of the CPU it gets depends on what else runs here."""

    def go_on(guard: int, runner: psutil.Process) -> None:
        begin, used_s = monotonic(), sum(runner.cpu_times()[:2])
        while (still_s := monotonic() - begin) < 60:
            if still_s > STILL_S and sum(runner.cpu_times()[:2]) - used_s > 1.5 * max(BEAT_S, RAN * still_s):
                break  # the guard can now tell that the runner ran
            sleep(0.02)
        os.kill(guard, signal.SIGCONT)

    pids = tmp_path / "pids"
    with supervisor(tmp_path) as made:
        job = assignment(schedule(tmp_path, note_pid_in=str(pids), cpu_s=[CALL_S]), inferences=125, warmup=NO_WARMUP)
        stopped: list[int] = []

        def on_stage(stage: str, _progress: float | None) -> None:
            if stage.endswith("measuring") and not stopped:
                runner = psutil.Process(int(pids.read_text()))
                stopped.append(runner.ppid())
                os.kill(stopped[0], signal.SIGSTOP)
                threading.Thread(target=go_on, args=(stopped[0], runner)).start()

        outcome = made.run(job, on_stage)
    assert outcome.status == "complete", outcome.error
    assert outcome.noise is not None
    assert (outcome.noise.facts["repeats_voided"], outcome.noise.facts["stood_still_s"]) == (0, 0.0)
    assert len(pids.read_text().split()) == 1


def test_a_process_that_nobody_continues_is_given_up_as_the_devices_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.supervisor.process_run.STOPPED_PATIENCE_S", 1.0)
    pids = tmp_path / "pids"
    with supervisor(tmp_path) as made:
        job = assignment(schedule(tmp_path, note_pid_in=str(pids), then="hang", at_call=1), warmup=NO_WARMUP, timeout_s=1)
        begin = monotonic()
        outcome = made.run(job, lambda stage, _: os.kill(int(pids.read_text()), signal.SIGSTOP) if stage.endswith("measuring") else None)
        assert monotonic() - begin < 30
        assert (outcome.status, outcome.error_kind) == ("failed", "worker_error")
        assert "repeat 1 of 1 was stopped (SIGSTOP or a frozen container) for" in outcome.error
        assert made.run(assignment(schedule(tmp_path, calls_s=[0.001])), lambda *_: None).status == "complete"


def test_a_process_that_stands_still_each_time_fails_as_the_devices_fault(tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    def stop_each(stage: str, _progress: float | None) -> None:
        if stage.endswith("measuring"):
            runner = int(pids.read_text().split()[-1])
            os.kill(runner, signal.SIGSTOP)
            wait_until_stopped(runner)
            threading.Timer(0.2, os.kill, (runner, signal.SIGCONT)).start()

    with supervisor(tmp_path) as made:
        job = assignment(schedule(tmp_path, note_pid_in=str(pids), sleeps_s=[CALL_S]), inferences=20, warmup=NO_WARMUP)
        outcome = made.run(job, stop_each)
    assert (outcome.status, outcome.error_kind) == ("failed", "worker_error")
    assert "stood still in each of 3 tries" in outcome.error
    assert len(pids.read_text().split()) == 3


@pytest.mark.cgroups
def test_a_frozen_container_is_noticed_when_it_thaws(tmp_path: Path) -> None:
    """The whole worker is frozen: supervisor, guard and runner. If the frozen time counted, the time limit would be over when it thaws."""
    pids, said = tmp_path / "pids", tmp_path / "said"
    go, gone = os.pipe()
    worker = os.fork()
    if worker == 0:
        code = 1
        try:
            os.read(go, 1)  # by now the worker is in the group, and its guard will be in it, too
            with supervisor(tmp_path) as made:
                job = assignment(schedule(tmp_path, note_pid_in=str(pids), sleeps_s=[CALL_S]), inferences=50, warmup=NO_WARMUP, timeout_s=3)

                def on_stage(stage: str, _progress: float | None) -> None:
                    if stage.endswith("measuring"):
                        said.write_text("measuring")

                outcome = made.run(job, on_stage)
                facts = outcome.noise.facts if outcome.noise else {}
                said.write_text(f"{outcome.status} {facts.get('repeats_voided')} {longest_ms(outcome) < LONGEST_MS} {outcome.error}")
                code = 0
        finally:
            os._exit(code)
    with Freezer(f"fleetmark-test-{worker}") as freezer:
        freezer.add(worker)
        os.write(gone, b".")
        while not (said.exists() and said.read_text() == "measuring"):
            sleep(0.01)
        freezer.freeze()
        sleep(3.5)
        freezer.thaw()
        _, status = os.waitpid(worker, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert said.read_text() == "complete 1 True "


class One:
    def __init__(self) -> None:
        self.pid, self.stillness = 2**22 + 1, Stillness()  # no process has this id, so it used no CPU


def test_sleep_of_the_machine_is_told_by_the_clock_that_goes_on_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import UTC, datetime

    asleep = [10.0]
    monkeypatch.setattr(stillness, "slept_s", lambda: asleep[0])
    clock = FakeClock(datetime(2026, 1, 1, tzinfo=UTC))
    watch, one = StillnessWatch(clock), One()
    clock.advance(BEAT_S)
    watch.look([one])
    assert (one.stillness.times, one.stillness.asleep_s) == (0, 0.0)
    asleep[0] += 3_600.0  # the lid was closed for an hour, which the monotonic clock does not count
    clock.advance(BEAT_S)
    watch.look([one])
    assert (one.stillness.times, one.stillness.asleep_s, one.stillness.still_s) == (1, 3_600.0, 0.0)
