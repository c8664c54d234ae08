"""Tests models that crash, hang, write without end or leave processes behind. One job fails with its reason, and the worker survives."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest

from shared.clock import SystemClock
from shared.errors import InvalidInput
from tests import onnx_models
from tests.measuring import CAMPAIGN, LIGHT_MODELS, Stages, assignment, descendants, is_gone, lines_of, log_for, schedule, supervisor
from worker.models import ModelStore
from worker.supervisor import Outcome, Supervisor, Why
from worker.supervisor.deaths import how_it_died, software_of

MODES = ["forked", "spawned"]


@pytest.fixture(scope="module", params=MODES)
def measurer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisor]:
    with supervisor(tmp_path_factory.mktemp("measurer"), spawn=request.param == "spawned") as made:
        yield made


@pytest.fixture
def forked(tmp_path: Path) -> Iterator[Supervisor]:
    with supervisor(tmp_path / "forked") as made:
        yield made


def still_measures(measurer: Supervisor, folder: Path) -> None:
    outcome = measurer.run(assignment(schedule(folder, calls_s=[0.001])), Stages())
    assert outcome.status == "complete", outcome.error


def failed(outcome: Outcome, kind: str) -> str:
    assert (outcome.status, outcome.error_kind) == ("failed", kind), outcome.error
    assert outcome.summary is None
    assert outcome.samples_npz is None
    assert outcome.noise is not None
    return outcome.error


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL"])
def test_a_native_crash_fails_its_job_by_the_signals_name(measurer: Supervisor, tmp_path: Path, name: str) -> None:
    work = assignment(schedule(tmp_path, prints="hello from the model", then=f"crash:{name}", at_call=3), repeats=2)
    job_log = log_for(work)
    error = failed(measurer.run(work, Stages(), job_log), "runner_died")
    assert error.startswith(f"the measured process of repeat 1 of 2 ended while measuring: killed by {name}: ")
    assert error.endswith("; its last output:\nhello from the model")
    # The log contains Python's report of the crash once, and it does not contain the output twice.
    (told,) = [line["message"] for line in lines_of(job_log) if "hello from the model" in line["message"]]
    assert told.count("Fatal Python error: ") == 1
    assert "in time_calls" in told  # it names our line that made the call
    assert [line["message"] for line in lines_of(job_log)][-1] == error.partition("; its last output:")[0]
    still_measures(measurer, tmp_path)


def test_a_native_crash_names_the_runtime_and_its_version() -> None:
    facts = {"signal": signal.SIGILL, "code": None, "max_rss_mb": None, "killed_by_us": False, "oom_kill": False}
    said = how_it_died(facts, "repeat 1 of 6", "loading", software_of("cpu.onnx"))
    assert f"ended while loading: killed by SIGILL in onnxruntime {version('onnxruntime')}, numpy {version('numpy')}: " in said
    assert software_of("fake") == ""


def test_a_crash_while_loading_says_so(measurer: Supervisor, tmp_path: Path) -> None:
    error = failed(measurer.run(assignment(schedule(tmp_path, then="crash:SIGSEGV", when="load")), Stages()), "runner_died")
    assert "ended while loading: killed by SIGSEGV" in error


def test_a_kill_from_outside_is_put_down_to_the_memory_killer(measurer: Supervisor, tmp_path: Path) -> None:
    error = failed(measurer.run(assignment(schedule(tmp_path, then="crash:SIGKILL")), Stages()), "runner_died")
    assert "killed by SIGKILL, which the worker did not send; most likely the out-of-memory killer" in error


def test_an_exit_code_is_given_with_the_last_lines(measurer: Supervisor, tmp_path: Path) -> None:
    error = failed(measurer.run(assignment(schedule(tmp_path, then="exit:41")), Stages()), "runner_died")
    assert "with exit code 41 and no result" in error


def test_a_defect_of_an_engine_leaves_as_a_traceback(measurer: Supervisor, tmp_path: Path) -> None:
    error = failed(measurer.run(assignment(schedule(tmp_path, then="defect")), Stages()), "runner_died")
    assert "LookupError: nobody explains this" in error


def test_an_error_that_the_engine_explains_is_the_models(measurer: Supervisor, tmp_path: Path) -> None:
    error = failed(measurer.run(assignment(schedule(tmp_path, then="raise:no such weight")), Stages()), "model_invalid")
    assert error == "the fake model says: no such weight (repeat 1 of 1, while warming up)"


def test_a_hang_ends_at_the_deadline(measurer: Supervisor, tmp_path: Path) -> None:
    outcome = measurer.run(assignment(schedule(tmp_path, then="hang", at_call=4), repeats=3, timeout_s=2), Stages())
    error = failed(outcome, "deadline_exceeded")
    assert error.startswith("not done within timeout_s = 2: killed in repeat 1 of 3 while measuring")
    still_measures(measurer, tmp_path)


def test_endless_output_is_bounded_and_its_end_is_kept(measurer: Supervisor, tmp_path: Path) -> None:
    work = assignment(schedule(tmp_path, then="chatter"), timeout_s=2)
    job_log = log_for(work)
    failed(measurer.run(work, Stages(), job_log), "deadline_exceeded")
    assert len(job_log.to_jsonl()) < 200_000
    still_measures(measurer, tmp_path)


def test_what_a_model_prints_is_in_the_log(measurer: Supervisor, tmp_path: Path) -> None:
    work = assignment(schedule(tmp_path, calls_s=[0.001], prints="hello from the model"))
    job_log = log_for(work)
    assert measurer.run(work, Stages(), job_log).status == "complete"
    (said,) = [line for line in lines_of(job_log) if line["source"] == "application"]
    assert said["message"] == "hello from the model"
    assert set(said) == {"time", "level", "source", "campaign", "job", "attempt", "worker", "message"}
    assert (said["campaign"], said["job"], said["worker"]) == (CAMPAIGN, work.job_id, "worker-under-test")


def test_a_grandchild_ends_with_its_repeat(measurer: Supervisor, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    outcome = measurer.run(assignment(schedule(tmp_path, then="spawn", pid_file=str(pid_file), calls_s=[0.001])), Stages())
    assert outcome.status == "complete", outcome.error
    assert is_gone(int(pid_file.read_text()))


def test_a_grandchild_in_a_session_of_its_own_ends_too(forked: Supervisor, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    outcome = forked.run(assignment(schedule(tmp_path, then="spawn:daemon", pid_file=str(pid_file), calls_s=[0.001])), Stages())
    assert outcome.status == "complete", outcome.error
    assert is_gone(int(pid_file.read_text()))


def test_a_whole_family_in_a_session_of_its_own_ends_with_its_repeat(forked: Supervisor, tmp_path: Path) -> None:
    """The child of a killed orphan is an orphan, too."""
    pids = tmp_path / "pids"
    outcome = forked.run(assignment(schedule(tmp_path, then="spawn:family", pid_file=str(pids), calls_s=[0.001])), Stages())
    assert outcome.status == "complete", outcome.error
    family = [int(pid) for pid in pids.read_text().split()]
    assert len(family) == 2
    assert all(is_gone(pid) for pid in family)


@pytest.mark.parametrize("why", ["cancelled", "handed_back"])
@pytest.mark.parametrize("stage", ["loading", "measuring"])
def test_a_stop_ends_the_attempt_at_once(measurer: Supervisor, tmp_path: Path, why: Why, stage: str) -> None:
    work = assignment(schedule(tmp_path, then="hang", at_call=4, when="load" if stage == "loading" else "call"))

    def stop_when(seen: str, progress: float | None) -> None:
        if seen.endswith(stage):
            threading.Thread(target=measurer.stop, args=(work.job_id, work.attempt, why)).start()

    outcome = measurer.run(work, stop_when)
    assert outcome.status == why
    assert outcome.summary is None
    still_measures(measurer, tmp_path)


def test_a_stop_that_comes_before_its_job_is_remembered(measurer: Supervisor, tmp_path: Path) -> None:
    work = assignment(schedule(tmp_path, then="hang"))
    measurer.stop(work.job_id, work.attempt, "cancelled")
    assert measurer.run(work, Stages()).status == "cancelled"


def test_a_stop_of_another_attempt_changes_nothing(measurer: Supervisor, tmp_path: Path) -> None:
    work = assignment(schedule(tmp_path, calls_s=[0.001]), attempt=2)
    measurer.stop(work.job_id, 1, "cancelled")
    assert measurer.run(work, Stages()).status == "complete"


def test_a_guard_that_is_killed_between_jobs_is_started_again(tmp_path: Path) -> None:
    before = set(descendants(os.getpid()))
    with supervisor(tmp_path) as made:
        still_measures(made, tmp_path)
        (guard,) = set(descendants(os.getpid())) - before
        os.kill(guard, signal.SIGKILL)
        assert is_gone(guard)
        still_measures(made, tmp_path)


def test_a_guard_that_is_killed_at_work_fails_that_job_and_leaves_no_runner(forked: Supervisor, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    work = assignment(schedule(tmp_path, then="hang", note_pid_in=str(pids), at_call=4))

    def kill_the_guard(seen: str, progress: float | None) -> None:
        if seen.endswith("measuring"):
            os.kill(psutil.Process(int(pids.read_text())).ppid(), signal.SIGKILL)

    outcome = forked.run(work, kill_the_guard)
    assert "the guard process ended in repeat 1 of 1 while measuring" in failed(outcome, "runner_died")
    assert is_gone(int(pids.read_text()))
    still_measures(forked, tmp_path)


def test_closing_leaves_nothing_behind(tmp_path: Path) -> None:
    before = set(descendants(os.getpid()))
    with supervisor(tmp_path) as made:
        still_measures(made, tmp_path)
        assert set(descendants(os.getpid())) - before
    assert set(descendants(os.getpid())) <= before
    assert list((tmp_path / "cache" / "runs").iterdir()) == []


def test_closing_hands_back_what_is_running(tmp_path: Path) -> None:
    outcomes: list[Outcome] = []
    with supervisor(tmp_path) as made:
        begun = threading.Event()
        work = assignment(schedule(tmp_path, then="hang", at_call=4))
        thread = threading.Thread(
            target=lambda: outcomes.append(made.run(work, lambda stage, _: begun.set() if "measuring" in stage else None))
        )
        thread.start()
        assert begun.wait(30)
    thread.join()
    assert [outcome.status for outcome in outcomes] == ["handed_back"]


def test_leftovers_of_a_killed_worker_are_cleared_and_a_living_ones_are_not(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    # the first is larger than any process id, the second belongs to a living process, and the third is not ours
    for name in ("4194304", f"{os.getppid()}", "notes"):
        (runs / name).mkdir(parents=True)
    models = ModelStore(tmp_path, host=None, token=None, max_bytes=1)
    made = Supervisor(cache_dir=tmp_path, models=models, clock=SystemClock(), lock_path=tmp_path / "lock")
    made.start()
    made.close()
    assert sorted(folder.name for folder in runs.iterdir()) == sorted([f"{os.getppid()}", "notes"])


def test_a_published_network_is_measured_whole(measurer: Supervisor) -> None:
    work = assignment(LIGHT_MODELS / "light_squeezenet.onnx", capability="cpu.onnx", inferences=30, repeats=2, loads=1)
    outcome = measurer.run(work, Stages())
    assert outcome.status == "complete", outcome.error
    summary = outcome.summary
    assert summary is not None
    assert (summary.inference.n, summary.load.n, len(summary.repeats)) == (60, 3, 2)
    assert summary.inference.p75 is not None
    assert summary.inference_peak_mb is not None
    assert summary.inference_peak_mb > 20
    assert outcome.runtime["providers"] == ["CPUExecutionProvider"]
    assert outcome.runtime["cpu_affinity"] == sorted(os.sched_getaffinity(0))
    assert outcome.software["onnxruntime"]
    assert set(outcome.timings_s) == {"fetch", "wait_for_lock", "measure", "total"}
    assert (outcome.model_name, outcome.model_size) == ("light_squeezenet.onnx", 15618)


@pytest.mark.parametrize(("make", "said"), [(onnx_models.unknown_operator, "Frobnicate"), (onnx_models.opset_of_tomorrow, "opset 99")])
def test_a_model_that_the_runtime_refuses_fails_with_the_reason(
    measurer: Supervisor, tmp_path: Path, make: Callable[[Path], Path], said: str
) -> None:
    outcome = measurer.run(assignment(make(tmp_path / "bad.onnx"), capability="cpu.onnx"), Stages())
    assert said in failed(outcome, "model_invalid")
    assert "while loading" in outcome.error


def test_a_cache_folder_that_cannot_be_written_fails_the_job_with_the_reason(tmp_path: Path) -> None:
    with supervisor(tmp_path) as made:
        still_measures(made, tmp_path)
        runs = tmp_path / "cache" / "runs"
        shutil.rmtree(runs)
        runs.write_text("a file where the folder was")
        outcome = made.run(assignment(schedule(tmp_path)), Stages())
    assert (outcome.status, outcome.error_kind) == ("failed", "worker_error")
    assert "no result could be written" in outcome.error


def test_a_cache_folder_that_cannot_be_made_is_said_at_the_start(tmp_path: Path) -> None:
    obstacle = tmp_path / "a file"
    obstacle.write_text("where the folder belongs")
    models = ModelStore(obstacle, host=None, token=None, max_bytes=1)
    made = Supervisor(cache_dir=obstacle, models=models, clock=SystemClock(), lock_path=tmp_path / "lock")
    with pytest.raises(InvalidInput, match=r"free some space, or set FLEETMARK_WORKER_CACHE_DIR"):
        made.start()


def test_a_capability_that_nothing_runs_fails_by_its_name(measurer: Supervisor, tmp_path: Path) -> None:
    model = schedule(tmp_path).rename(tmp_path / "m.onnx")
    outcome = measurer.run(assignment(model, capability="cpu.abacus"), Stages())
    assert (outcome.status, outcome.error_kind) == ("failed", "engine_unavailable")
    assert "no engine runs 'cpu.abacus' here" in outcome.error


def test_a_model_that_is_not_there_fails_before_anything_is_measured(measurer: Supervisor, tmp_path: Path) -> None:
    outcome = measurer.run(assignment(tmp_path / "missing.json"), Stages())
    assert (outcome.status, outcome.error_kind) == ("failed", "model_unavailable")
    assert "does not exist on this device" in outcome.error
    assert outcome.noise is None


def test_the_progress_of_a_single_repeat_grows_with_its_phases(tmp_path: Path) -> None:
    stages = Stages()
    with supervisor(tmp_path) as measurer:
        assert measurer.run(assignment(schedule(tmp_path), repeats=1), stages).status == "complete"
    marks = [progress for stage, progress in stages.seen if stage.startswith("repeat 1 of 1") and progress is not None]
    assert marks == sorted(marks)
    assert marks[0] == 0
    assert 0 < marks[-1] < 1, "not at 0 % to its end"


def test_the_progress_counts_processes_that_only_load(tmp_path: Path) -> None:
    stages = Stages()
    with supervisor(tmp_path) as measurer:
        assert measurer.run(assignment(schedule(tmp_path), repeats=2, loads=2), stages).status == "complete"
    begun = [progress for stage, progress in stages.seen if stage.endswith(": starting")]
    assert begun == [0, 0.25, 0.5, 0.75]


def test_each_repeat_says_when_its_process_was_started(measurer: Supervisor, tmp_path: Path) -> None:
    clock = SystemClock()
    began = clock.now().timestamp()
    outcome = measurer.run(assignment(schedule(tmp_path, calls_s=[0.001]), repeats=3), Stages())
    assert outcome.summary is not None, outcome.error
    moments = [began, *(repeat.started_at for repeat in outcome.summary.repeats), clock.now().timestamp()]
    assert moments == sorted(moment for moment in moments if moment is not None), "in the order in which they ran"
