"""Tests what is sampled beside real measured processes, with a sampler whose values are known."""

from __future__ import annotations

import contextlib
import io
import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from shared import energy
from shared.figures import Figure
from shared.telemetry import ENERGY, ENERGY_ABOVE_IDLE, POWER, RUNTIME_KEY, SOURCE_KEY, TELEMETRY_FORMAT, Beside, Header
from tests.measuring import NO_WARMUP, Stages, assignment, samples, schedule, supervisor
from worker.supervisor import Outcome, TelemetryOptions, sampling

POWER_COLUMN = {"name": "fake_w", "unit": "W", "role": "power", "feeds": "cpu"}


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the limits for an energy to half a second and five steps, so that a test need not measure for five seconds."""
    monkeypatch.setattr(energy, "MIN_SECONDS", 0.5)
    monkeypatch.setattr(energy, "MIN_STEPS", 5)


def options(folder: Path, **fake: Any) -> TelemetryOptions:
    (folder / "fake-sampler.json").write_text(json.dumps(fake))
    (folder / "proc").symlink_to("/proc")
    return TelemetryOptions(samplers=("processes", "fake"), root=str(folder), idle_s=0.0)


def grandchildren() -> list[psutil.Process]:
    """Return the processes that guards have started. Other children of this process, such as servers of other tests, do not matter."""
    found: list[psutil.Process] = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            found += child.children()
    return found


def told(outcome: Outcome) -> Beside:
    assert outcome.status == "complete", outcome.error
    return Beside.model_validate(outcome.runtime[RUNTIME_KEY])


def figure(outcome: Outcome, name: str) -> Figure:
    assert outcome.summary is not None
    (found,) = [one for one in outcome.summary.figures if one.name == name]
    return found


def value(outcome: Outcome, name: str) -> float:
    found = figure(outcome, name).value
    assert found is not None, figure(outcome, name).missing
    return found


def file_of(outcome: Outcome) -> tuple[Header, dict[str, Any]]:
    assert outcome.telemetry_npz is not None
    with np.load(io.BytesIO(outcome.telemetry_npz), allow_pickle=False) as content:
        arrays = {name: content[name] for name in content.files}
    assert int(arrays["format"]) == TELEMETRY_FORMAT
    return Header.model_validate_json(arrays["header"].tobytes()), arrays


@pytest.mark.alone
@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("spawn", [False, pytest.param(True, marks=pytest.mark.long)], ids=["forked", "spawned"])
def test_a_known_power_gives_the_energy_of_an_inference(tmp_path: Path, spawn: bool) -> None:
    """The counter shows 40 W, so an inference of 20 ms takes 0.8 J."""
    with supervisor(tmp_path, spawn=spawn, telemetry=options(tmp_path, clock_j=40.0)) as made:
        work = assignment(schedule(tmp_path, sleeps_s=[0.02]), inferences=60, repeats=2, warmup=NO_WARMUP)
        outcome = made.run(work, Stages())
    found = told(outcome)
    assert found.energy.source == "counter"
    assert outcome.runtime[SOURCE_KEY] == "counter"
    assert value(outcome, POWER) == pytest.approx(40.0, rel=0.02)
    assert outcome.summary is not None
    assert value(outcome, ENERGY) == pytest.approx(40.0 * outcome.summary.inference.mean / 1e3, rel=0.05)
    assert len(figure(outcome, ENERGY).repeats) == 2
    assert found.ended == ""
    assert found.cpu_s is not None


def test_the_file_says_what_was_measured_at_each_moment(tmp_path: Path) -> None:
    with supervisor(tmp_path, telemetry=options(tmp_path, columns=[POWER_COLUMN], values=[[5.0], [None]])) as made:
        work = assignment(schedule(tmp_path, sleeps_s=[0.02]), inferences=25, repeats=2, loads=1, warmup=NO_WARMUP)
        header, arrays = file_of(made.run(work, Stages()))
    names = [column.name for column in header.columns]
    assert "tree_cpu_percent" in names
    assert arrays["values"].shape == (len(names), arrays["t"].size)
    assert arrays["t"].size >= 5
    assert np.all(np.diff(arrays["t"]) > 0)
    phases = [(one.where, one.index, one.phase) for one in header.phases]
    assert [one for one in phases if one[2] == "measuring"] == [("repeat", 0, "measuring"), ("repeat", 1, "measuring")]
    assert ("load", 0, "loading") in phases
    power = arrays["values"][names.index("fake_w")]
    assert set(power[~np.isnan(power)]) == {5.0}
    assert np.isnan(power).any(), "a null stays a null"
    processes = arrays["values"][names.index("tree_processes")]
    assert 1.0 in processes, "the measured process, without the guard and without the one that samples"


@pytest.mark.usefixtures("short")
def test_the_idle_power_is_an_extra_figure_and_measured_once_for_several_jobs(tmp_path: Path) -> None:
    fake = options(tmp_path, columns=[POWER_COLUMN], values=[[10.0]])
    chosen = TelemetryOptions(samplers=fake.samplers, root=fake.root, idle_s=0.4)
    with supervisor(tmp_path, telemetry=chosen) as made:
        outcomes = [made.run(assignment(schedule(tmp_path, sleeps_s=[0.02]), inferences=50, warmup=NO_WARMUP), Stages()) for _ in range(2)]
    first, second = (told(outcome) for outcome in outcomes)
    assert first.energy.idle_w == pytest.approx(10.0)
    assert value(outcomes[0], ENERGY_ABOVE_IDLE) == pytest.approx(0.0, abs=1e-9)
    assert outcomes[0].summary is not None
    with_idle = 10.0 * outcomes[0].summary.inference.mean / 1e3
    assert value(outcomes[0], ENERGY) == pytest.approx(with_idle, rel=0.05), "the energy itself has the idle power in it"
    assert second.energy.idle_w == first.energy.idle_w


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGKILL, "ended before the measurement (signal 9)"),
        pytest.param(signal.SIGSTOP, "did not end when it was told to, and was killed", marks=pytest.mark.long),
    ],
)
def test_a_sampling_process_that_dies_or_hangs_costs_telemetry_and_not_the_measurement(
    tmp_path: Path, number: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "END_PATIENCE_S", 0.5)

    def hurt(stage: str, _progress: float | None) -> None:
        if stage.endswith("repeat 2 of 2: measuring"):
            for child in grandchildren():
                if samples(child.pid):
                    child.send_signal(number)

    with supervisor(tmp_path, telemetry=options(tmp_path, clock_j=40.0)) as made:
        work = assignment(schedule(tmp_path, sleeps_s=[0.02]), inferences=150, repeats=2, warmup=NO_WARMUP)
        outcome = made.run(work, hurt)
        still = made.run(assignment(schedule(tmp_path, calls_s=[0.001])), Stages())
    assert said in told(outcome).ended
    assert said in figure(outcome, ENERGY).missing
    header, arrays = file_of(outcome)
    assert said in header.ended
    assert arrays["t"].size >= 20, "what had reached the disk is kept"
    assert said not in told(still).ended


def test_a_source_that_crashes_its_process_is_named_with_its_exit_code(tmp_path: Path) -> None:
    with supervisor(tmp_path, telemetry=options(tmp_path, columns=[POWER_COLUMN], values=[[1.0]], crash_after=6)) as made:
        outcome = made.run(assignment(schedule(tmp_path, sleeps_s=[0.02]), inferences=30, warmup=NO_WARMUP), Stages())
    assert told(outcome).ended == "the process that samples ended before the measurement (exit code 3)"


def test_turned_off_it_starts_nothing_and_says_so(tmp_path: Path) -> None:
    seen: list[int] = []

    def count(stage: str, _progress: float | None) -> None:
        if stage.endswith("measuring"):
            seen.append(sum(samples(child.pid) for child in grandchildren()))

    with supervisor(tmp_path, telemetry=TelemetryOptions(hz=0)) as made:
        outcome = made.run(assignment(schedule(tmp_path, calls_s=[0.001])), count)
    assert seen == [0]
    assert outcome.telemetry_npz is None
    assert "FLEETMARK_WORKER_TELEMETRY_HZ=0" in told(outcome).ended


def test_a_job_that_fails_has_its_telemetry_too_and_the_next_has_only_its_own(tmp_path: Path) -> None:
    with supervisor(tmp_path, telemetry=options(tmp_path, clock_j=1.0)) as made:
        model = schedule(tmp_path, sleeps_s=[0.02], then="crash:SIGSEGV", at_call=20)
        failed = made.run(assignment(model, inferences=50, warmup=NO_WARMUP), Stages())
        lost = made.run(assignment(tmp_path / "no-such-model.json"), Stages())
    assert (failed.status, lost.status) == ("failed", "failed")
    assert file_of(failed)[1]["t"].size > 0
    assert lost.telemetry_npz is None, "nothing was measured"


def test_a_fork_that_fails_for_the_sampling_process_is_told_and_the_job_completes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from worker.interpreter import ROOT

    code = """
import os, sys
from errno import EAGAIN
fork, failures = os.fork, [OSError(EAGAIN, "Resource temporarily unavailable")]
def once():
    if failures:
        raise failures.pop()
    return fork()
os.fork = once
from worker.runner.__main__ import main
main(sys.argv[1:])
"""
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"]
    monkeypatch.setattr("worker.supervisor.guard_process.runner_command", lambda *arguments: [*command, *arguments])
    with supervisor(tmp_path, telemetry=options(tmp_path, clock_j=1.0)) as made:
        found = told(made.run(assignment(schedule(tmp_path, calls_s=[0.001])), Stages()))
    assert "it could not be started: [Errno 11] Resource temporarily unavailable" in found.ended


def test_a_job_that_is_over_at_once_does_not_wait_for_its_samples(tmp_path: Path) -> None:
    """The first job waits, because it is not known yet whether the idle device must be sampled."""
    with supervisor(tmp_path, telemetry=options(tmp_path, columns=[{"name": "x", "unit": "count"}], values=[[1.0]])) as made:
        work = assignment(schedule(tmp_path, calls_s=[0.0]), inferences=1, warmup=NO_WARMUP)
        outcomes = [made.run(work, Stages()) for _ in range(6)]
        (own,) = (tmp_path / "cache" / "runs").iterdir()
        assert list(own.iterdir()) == []
    short = [outcome for outcome in outcomes if told(outcome).ended]
    assert {told(outcome).ended for outcome in short} <= {sampling.TOO_SHORT}
    assert all(figure(outcome, ENERGY).value is None for outcome in outcomes)


def test_nothing_is_left_in_the_worker_s_folder(tmp_path: Path) -> None:
    with supervisor(tmp_path, telemetry=options(tmp_path, clock_j=1.0)) as made:
        made.run(assignment(schedule(tmp_path, calls_s=[0.001])), Stages())
        (own,) = (tmp_path / "cache" / "runs").iterdir()
        assert list(own.iterdir()) == []
