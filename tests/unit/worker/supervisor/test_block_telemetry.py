"""Each job of a block has the samples of its own turns, and no others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shared import energy
from shared.clock import SystemClock
from shared.ids import AttemptKey
from shared.telemetry import ENERGY, POWER
from tests.measuring import NO_WARMUP, assignment, samples, schedule, supervisor
from tests.unit.worker.supervisor.test_block import Turns, key_of
from tests.unit.worker.supervisor.test_telemetry import POWER_COLUMN, file_of, grandchildren, options, told, value
from worker.supervisor import TelemetryOptions

WATTS = 40.0


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let half a second and five steps be enough for an energy, so that a test need not measure for five seconds."""
    monkeypatch.setattr(energy, "MIN_SECONDS", 0.5)
    monkeypatch.setattr(energy, "MIN_STEPS", 5)


@pytest.mark.alone
@pytest.mark.usefixtures("short")
def test_a_job_of_a_block_gets_the_samples_and_the_energy_of_its_own_turns(tmp_path: Path) -> None:
    """Each job knows when a process of the other one was started, and has no sample from then until that process had measured."""
    clock = SystemClock()
    work = [assignment(schedule(tmp_path, sleeps_s=[0.02]), inferences=number, repeats=3, loads=1, warmup=NO_WARMUP) for number in (40, 60)]
    starts: dict[AttemptKey, list[float]] = {key_of(one): [] for one in work}
    measures: dict[AttemptKey, list[float]] = {key_of(one): [] for one in work}

    def react(stage: str, job: AttemptKey) -> None:
        if stage.endswith((": starting", ": measuring")):
            (starts if stage.endswith(": starting") else measures)[job].append(clock.monotonic())

    turns = Turns(*work)
    with supervisor(tmp_path, telemetry=options(tmp_path, clock_j=WATTS)) as made:
        outcomes = turns.run(made, react)
    for own, other, number, outcome in zip(work, reversed(work), (40, 60), outcomes, strict=True):
        found = told(outcome)
        header, arrays = file_of(outcome)
        measuring = [one for one in header.phases if one.phase == "measuring"]
        assert [one.index for one in measuring] == [0, 1, 2]
        # The test hears of a phase a little later than it is noted, on a busy machine much later. The least delay is next to none.
        first_at = min(heard - one.at for heard, one in zip(measures[key_of(own)], measuring, strict=True))
        at = arrays["t"] + first_at
        others = 100 - number
        for began, ends in zip(starts[key_of(other)][:3], [one + others * 0.02 for one in measures[key_of(other)]], strict=True):
            assert not np.any((at > began) & (at < ends)), "no sample of the other job's turn"
        for one in measuring:
            inside = (arrays["t"] >= one.at) & (arrays["t"] <= one.at + number * 0.02)
            assert inside.any(), "each of its own repeats was sampled"
        assert 1 <= arrays["gap"].sum() == found.gaps
        counter = arrays["values"][[column.name for column in header.columns].index("fake_energy_j")]
        turned_s = counter[-1] / WATTS
        assert turned_s < arrays["t"][-1] - others * 0.02, "the counter stands still in the turns of the other job"
        assert found.energy.source == "counter"
        assert value(outcome, POWER) == pytest.approx(WATTS, rel=0.15)
        assert outcome.summary is not None
        assert value(outcome, ENERGY) == pytest.approx(WATTS * outcome.summary.inference.mean / 1e3, rel=0.15)
        assert found.ended == ""
        assert outcome.noise is not None


@pytest.mark.usefixtures("short")
def test_the_jobs_of_a_block_share_one_idle_power_whichever_is_over_first(tmp_path: Path) -> None:
    fake = options(tmp_path, columns=[POWER_COLUMN], values=[[10.0]])
    work = [assignment(schedule(tmp_path, sleeps_s=[0.02]), inferences=30, repeats=number, warmup=NO_WARMUP) for number in (1, 2, 1)]
    turns = Turns(*work)
    with supervisor(tmp_path, telemetry=TelemetryOptions(samplers=fake.samplers, root=fake.root, idle_s=0.4)) as made:
        outcomes = turns.run(made)
    assert [told(outcome).energy.idle_w for outcome in outcomes] == [pytest.approx(10.0)] * 3
    before = sorted(file_of(outcome)[0].phases[0].at for outcome in outcomes)
    assert before[-1] >= 0.35, "one of them waited while the idle device was sampled"
    assert before[-2] < 0.3, "the others did not"


def test_a_job_that_fails_in_its_turn_has_its_telemetry_and_no_process_samples_on(tmp_path: Path) -> None:
    seen: list[int] = []

    def count(stage: str, _job: AttemptKey) -> None:
        if stage.endswith(": measuring"):
            seen.append(sum(samples(process.pid) for process in grandchildren()))

    crashes = schedule(tmp_path, sleeps_s=[0.02], then="crash:SIGSEGV", at_call=20)
    work = [
        assignment(crashes, inferences=50, repeats=2, warmup=NO_WARMUP),
        assignment(schedule(tmp_path, sleeps_s=[0.02]), inferences=20, repeats=3, warmup=NO_WARMUP),
    ]
    turns = Turns(*work)
    with supervisor(tmp_path, telemetry=options(tmp_path, clock_j=WATTS)) as made:
        failed, complete = turns.run(made, count)
    assert (failed.status, complete.status) == ("failed", "complete")
    assert max(seen) <= 1, "one process samples at a time"
    header, arrays = file_of(failed)
    assert {one.index for one in header.phases if one.where} == {0}
    assert arrays["t"].size > 0
    assert [one.index for one in file_of(complete)[0].phases if one.phase == "measuring"] == [0, 1, 2]
