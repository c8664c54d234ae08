"""Compares measured values with known true values.

The fake engine waits for durations that the test gives it, so a call can take longer but never shorter. The engine also reports the true
duration of each call by its own clock. So a timing is never below the true value. Only the two tests marked `alone` have an upper bound.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from shared.measurements import RawRepeat, Summary
from shared.repetition import StopRule, Warmup
from shared.stats import summarise
from tests.measuring import FEW_WARMUPS, NO_WARMUP, Stages, assignment, samples_of, schedule, supervisor
from worker.measured.hot_loop import warm_up
from worker.supervisor import Outcome, Supervisor

MS = 1_000_000


@pytest.fixture(scope="module", params=["forked", "spawned"])
def measurer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisor]:
    """Return a supervisor. Each test runs with both ways of starting a fresh process."""
    with supervisor(tmp_path_factory.mktemp("measurer"), spawn=request.param == "spawned") as made:
        yield made


def complete(outcome: Outcome) -> Outcome:
    assert outcome.status == "complete", outcome.error
    return outcome


def summary_of(outcome: Outcome) -> Summary:
    complete(outcome)
    assert outcome.summary is not None
    return outcome.summary


@pytest.mark.alone
def test_each_call_is_recorded_once_and_in_its_order(measurer: Supervisor, tmp_path: Path) -> None:
    truth = [2 * MS, 6 * MS, 4 * MS, 12 * MS]
    model = schedule(tmp_path, calls_s=[duration / 1e9 for duration in truth])
    outcome = complete(measurer.run(assignment(model, inferences=8, repeats=3, warmup=Warmup(min_calls=4, min_s=0)), Stages()))
    samples = samples_of(outcome)
    for repeat in range(3):
        warmups, taken = samples[f"repeat_{repeat}_warmup_ns"], samples[f"repeat_{repeat}_inference_ns"]
        assert (len(warmups), len(taken)) == (4, 8)
        for measured, known in zip([*warmups, *taken], truth * 3, strict=True):
            assert known <= measured
    inside = outcome.runtime["calls_ns"]  # the durations by the model's own clock, whatever else the machine did
    outside = [*samples["repeat_0_warmup_ns"].tolist(), *samples["repeat_0_inference_ns"].tolist()]
    gaps = [around - within for around, within in zip(outside, inside, strict=True)]
    assert min(gaps) >= 0
    assert median(gaps) < 20_000  # a gap has one Python call and two readings of the clock


@pytest.mark.alone
def test_the_load_is_timed_apart_from_the_calls(measurer: Supervisor, tmp_path: Path) -> None:
    model = schedule(tmp_path, load_s=0.08, calls_s=[0.001])
    outcome = complete(measurer.run(assignment(model, repeats=2, loads=3), Stages()))
    samples = samples_of(outcome)
    loads = [int(samples["repeat_0_load_ns"][0]), int(samples["repeat_1_load_ns"][0]), *samples["extra_load_ns"].tolist()]
    assert len(loads) == 5
    assert all(load >= 80 * MS for load in loads)
    assert min(loads) < 160 * MS  # the start of the interpreter is not included
    assert outcome.summary is not None
    assert outcome.summary.load.n == 5
    assert outcome.summary.load.first == pytest.approx(loads[0] / 1e6)
    assert outcome.summary.inference.n == 10


def test_the_peak_of_a_known_allocation_is_found_in_its_phase(measurer: Supervisor, tmp_path: Path) -> None:
    small = schedule(tmp_path, calls_s=[0.001])
    on_load = schedule(tmp_path, calls_s=[0.001], allocate_on_load_mb=96)
    in_passing = schedule(tmp_path, calls_s=[0.001], allocate_in_passing_mb=160)

    def peaks(model: Path) -> tuple[float, float, float]:
        repeat = summary_of(complete(measurer.run(assignment(model), Stages()))).repeats[0]
        assert repeat.baseline_mb is not None
        assert repeat.load_peak_mb is not None
        assert repeat.inference_peak_mb is not None
        return repeat.baseline_mb, repeat.load_peak_mb, repeat.inference_peak_mb

    base, base_load, base_inference = peaks(small)
    assert base <= base_load
    _, load, inference = peaks(on_load)
    assert load - base_load == pytest.approx(96, abs=6)  # the memory is kept, so that the inferences have it too
    assert inference - base_inference == pytest.approx(96, abs=6)
    _, load, inference = peaks(in_passing)
    assert load - base_load == pytest.approx(160, abs=6)  # the memory is allocated and freed within the load
    assert inference - base_inference == pytest.approx(0, abs=6)  # the next phase must not contain the earlier peak


def test_every_repeat_is_a_fresh_process(measurer: Supervisor, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    model = schedule(tmp_path, calls_s=[0.001], note_pid_in=str(pids))
    complete(measurer.run(assignment(model, repeats=4, loads=2), Stages()))
    seen = [int(line) for line in pids.read_text().split()]
    assert len(seen) == 6
    assert len(set(seen)) == 6
    assert os.getpid() not in seen


def test_a_busy_call_is_one_core_of_cpu_and_a_sleeping_one_is_none(measurer: Supervisor, tmp_path: Path) -> None:
    busy = summary_of(complete(measurer.run(assignment(schedule(tmp_path, calls_s=[0.02]), inferences=10), Stages())))
    idle = summary_of(complete(measurer.run(assignment(schedule(tmp_path, sleeps_s=[0.02]), inferences=10), Stages())))
    assert busy.cpu_percent is not None
    assert idle.cpu_percent is not None
    assert 0 < busy.cpu_percent <= 101
    assert idle.cpu_percent < 20
    assert idle.cpu_percent < busy.cpu_percent


def test_the_throughput_is_of_the_timed_phase(measurer: Supervisor, tmp_path: Path) -> None:
    model = schedule(tmp_path, load_s=0.2, calls_s=[0.01])
    summary = summary_of(complete(measurer.run(assignment(model, inferences=10, repeats=2), Stages())))
    assert summary.throughput_per_s is not None
    assert summary.throughput_per_s <= 100.0
    assert summary.throughput_per_s == pytest.approx(1000 / summary.inference.mean, rel=0.02)


def test_the_summary_can_be_derived_again_from_the_file_of_samples(measurer: Supervisor, tmp_path: Path) -> None:
    outcome = complete(measurer.run(assignment(schedule(tmp_path, calls_s=[0.001, 0.002]), inferences=30, repeats=3), Stages()))
    samples = samples_of(outcome)
    assert int(samples["format"]) == 2
    repeats = [
        RawRepeat(index, int(samples[f"repeat_{index}_load_ns"][0]), [], samples[f"repeat_{index}_inference_ns"].tolist())
        for index in range(3)
    ]
    again, first = summarise(repeats), summary_of(outcome)
    assert again.inference == first.inference
    assert again.load == first.load


def test_a_stop_rule_ends_when_the_interval_is_narrow(measurer: Supervisor, tmp_path: Path) -> None:
    rule = StopRule(precision=0.5, max_repeats=8, budget_s=100)
    summary = summary_of(complete(measurer.run(assignment(schedule(tmp_path, sleeps_s=[0.05]), stop=rule), Stages())))
    assert summary.stopped_because.startswith("precision reached")
    assert (summary.precision_asked, len(summary.repeats)) == (0.5, 5)  # sleeps of 50 ms differ so little that the pilot is enough
    assert summary.precision_reached is not None
    assert summary.precision_reached <= 0.5


def test_a_stop_rule_ends_when_the_repeats_or_the_budget_are_spent(measurer: Supervisor, tmp_path: Path) -> None:
    model = schedule(tmp_path, calls_s=[0.002, 0.004])
    spent = StopRule(precision=1e-9, max_repeats=4, budget_s=100)
    summary = summary_of(complete(measurer.run(assignment(model, stop=spent, warmup=NO_WARMUP), Stages())))
    assert summary.stopped_because.startswith("repeats spent: 4 of 4; the median is known to ±")
    assert len(summary.repeats) == 4
    out_of_time = StopRule(precision=1e-9, max_repeats=100, budget_s=0.001)
    summary = summary_of(complete(measurer.run(assignment(model, stop=out_of_time, warmup=NO_WARMUP), Stages())))
    assert summary.stopped_because.startswith("budget spent")
    assert len(summary.repeats) == 3


def test_warm_up_goes_on_until_both_its_calls_and_its_time_have_passed(measurer: Supervisor, tmp_path: Path) -> None:
    model = schedule(tmp_path, calls_s=[0.01])
    by_time = samples_of(complete(measurer.run(assignment(model, warmup=Warmup(min_calls=1, min_s=0.3)), Stages())))
    assert sum(by_time["repeat_0_warmup_ns"][:-1]) < 0.3e9 <= sum(by_time["repeat_0_warmup_ns"]) + 1e7
    by_calls = samples_of(complete(measurer.run(assignment(model, warmup=Warmup(min_calls=30, min_s=0.01)), Stages())))
    assert len(by_calls["repeat_0_warmup_ns"]) == 30


@pytest.mark.parametrize(("min_calls", "min_s", "max_s", "expected"), [(0, 0, 30, 0), (7, 0, 30, 7), (7, 0, 0, 1), (1000, 1000, 0, 1)])
def test_warm_up_is_capped_by_time_or_by_one_call(min_calls: int, min_s: float, max_s: float, expected: int) -> None:
    calls = []
    assert len(warm_up(lambda: calls.append(1), min_calls, min_s, max_s)) == expected
    assert len(calls) == expected


def test_progress_names_the_stage_and_grows(measurer: Supervisor, tmp_path: Path) -> None:
    stages = Stages()
    complete(measurer.run(assignment(schedule(tmp_path, calls_s=[0.001]), repeats=2, warmup=FEW_WARMUPS), stages))
    assert stages.names()[0] == "fetching"
    for expected in ("repeat 1 of 2: loading", "repeat 1 of 2: warming up", "repeat 2 of 2: measuring"):
        assert expected in stages.names()
    progress = [share for name, share in stages.seen if name.startswith("repeat") and share is not None]
    assert progress == sorted(progress)
    assert progress[0] >= 0
    assert progress[-1] <= 1
