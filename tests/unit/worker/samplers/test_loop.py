"""Tests the sampling process: its schedule, its gaps, its behaviour when a source disappears, and its bounded memory."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from shared.clock import FakeClock, SystemClock
from shared.columns import Column
from shared.energy import Window, energy_of
from worker.samplers import loop
from worker.samplers.base import Place, Values
from worker.samplers.looks import DIED, Looks, LooksFile, read_looks
from worker.samplers.loop import OPEN, OPEN_WITH_ENERGY, TRIALS, leave_the_measured_cores, sample
from worker.samplers.registry import SAMPLERS, SamplerEntry, lack_of
from worker.samplers.request import SampleRequest

POWER = {"name": "x", "unit": "W", "role": "power", "feeds": "cpu"}
Run = Callable[..., tuple[Looks, list[str]]]


class Schedule:
    """Is a clock whose waits are exact, except for those that are given a longer time. It ends the sampling after a number of waits."""

    def __init__(self, samples: int, longer: dict[int, float] | None = None, jump_s: float = 0.0) -> None:
        self._clock, self._left, self._longer, self._number = FakeClock(datetime(2026, 3, 4, tzinfo=UTC)), samples, longer or {}, 0
        self._jump_s = jump_s

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now().timestamp() + self._jump_s * self._number, UTC)

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def sleep(self, seconds: float) -> None:
        self._clock.sleep(seconds)

    def wait(self, seconds: float) -> bool:
        self._clock.advance(seconds + self._longer.get(self._number, 0.0))
        self._number += 1
        return self._number > self._left


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run_(schedule: Schedule, *, max_rows: int = 1_000, samplers: tuple[str, ...] = ("fake",), **what: Any) -> tuple[Looks, list[str]]:
        (tmp_path / "fake-sampler.json").write_text(json.dumps({"columns": [POWER], "values": [[1.0]], **what}))
        request = SampleRequest(str(tmp_path / "looks"), samplers, 0.1, os.getpid(), root=str(tmp_path), max_rows=max_rows)
        said: list[str] = []
        sample(request, schedule, schedule.wait, said.append)
        return read_looks(tmp_path / "looks"), said

    return run_


def test_samples_come_at_an_absolute_schedule_however_late_single_ones_are(run: Run) -> None:
    looks, said = run(Schedule(10, longer={3: 0.02, 6: 0.08}))
    first = looks.times[0]
    assert [round(at - first, 6) for at in looks.times] == [0.0, 0.1, 0.2, 0.32, 0.4, 0.5, 0.68, 0.7, 0.8, 0.9]
    assert list(looks.gaps) == [0, 0, 0, 0, 0, 0, 1, 0, 0, 0], "a sample that is late by more than half of the time between two is a gap"
    assert said == [OPEN_WITH_ENERGY]
    assert (looks.ended, looks.period_s) == ("", 0.1)
    assert looks.cpu_s is not None


def test_missing_samples_are_a_gap_and_none_is_made_up(run: Run) -> None:
    looks, _ = run(Schedule(6, longer={2: 0.55}))
    first = looks.times[0]
    assert [round(at - first, 6) for at in looks.times] == [0.0, 0.1, 0.75, 0.8, 0.9, 1.0]
    assert list(looks.gaps) == [0, 0, 1, 1, 0, 0], "the sample after the missing ones says so, too"


def test_a_wall_clock_that_jumps_changes_nothing(run: Run) -> None:
    looks, _ = run(Schedule(5, jump_s=-3_600))
    assert [round(at - looks.times[0], 6) for at in looks.times] == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert not any(looks.gaps)


def test_a_source_that_vanishes_is_null_from_then_on_with_its_reason_and_the_others_go_on(run: Run) -> None:
    looks, _ = run(Schedule(8), samplers=("fake", "device"), vanish_after=TRIALS + 4)  # some readings come before the first sample
    power = next(values for column, values in zip(looks.columns, looks.values, strict=True) if column.name == "x")
    assert [None if math.isnan(value) else value for value in power] == [1.0] * 4 + [None] * 4
    reasons = {column.name: column.missing for column in looks.columns}
    assert reasons["x"] == "the fake source is gone"
    memory = next(values for column, values in zip(looks.columns, looks.values, strict=True) if column.name == "device_memory_mb")
    assert [math.isnan(value) for value in memory] == [False, True] * 4, "the whole device is read in every second sample, to the end"


def test_one_column_can_be_lost_alone(run: Run) -> None:
    looks, _ = run(Schedule(6), lose_after=TRIALS + 2, columns=[POWER, {"name": "y", "unit": "W"}], values=[[1.0, 2.0]])
    assert [math.isnan(value) for value in looks.values[0]] == [False] * 2 + [True] * 4
    assert not any(math.isnan(value) for value in looks.values[1])
    assert [column.missing for column in looks.columns] == ["the fake column is lost", ""]


def test_a_sampler_with_nothing_to_read_is_left_out_with_its_reason(run: Run, tmp_path: Path) -> None:
    looks, said = run(Schedule(2), refuse="no such chip here")
    assert looks.absent == {"fake": "no such chip here"}
    assert said == [OPEN]
    assert looks.columns == []


def test_a_defect_in_a_sampler_costs_its_columns_only(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    looks, _ = run(Schedule(3), samplers=("device", "fake"), values=[["a text"]])
    assert looks.columns[-1].missing.startswith("its sampler failed: ValueError")
    assert len(looks.times) == 3
    assert not math.isnan(looks.values[1][0]), "the memory of the device"


class Broken:
    """Is a sampler that does what the port forbids; `does` says what."""

    does = ""

    def __init__(self, place: Place) -> None:
        self._readings = 0

    def open(self) -> Any:
        if self.does == "no column":
            return ["watts"]
        names = ("device_memory_mb",) if self.does == "taken name" else ("y", "y") if self.does == "name twice" else ("y",)
        return [Column(name, "W", "broken") for name in names]

    def read(self) -> Values:
        self._readings += 1
        return [1.0]

    def missing(self) -> Mapping[str, str]:
        if self.does == "missing raises" and self._readings > TRIALS + 2:
            raise LookupError("no reason here")
        return {}

    def close(self) -> None:
        if self.does == "close raises":
            raise OSError("it is stuck")


@pytest.mark.parametrize(
    ("does", "absent", "missing"),
    [
        ("no column", "it failed: `open` returned 'watts', which is no Column", None),
        ("taken name", "it failed: its column device_memory_mb has the name of one of the sampler device; rename it", None),
        ("name twice", "it failed: its column y has the name of one of the sampler broken; rename it", None),
        ("missing raises", None, "its sampler failed: LookupError: no reason here"),
        ("close raises", None, ""),
    ],
)
def test_a_sampler_that_breaks_the_rules_of_the_port_takes_nothing_from_the_others(
    run: Run, monkeypatch: pytest.MonkeyPatch, does: str, absent: str | None, missing: str | None
) -> None:
    monkeypatch.setattr(Broken, "does", does)
    monkeypatch.setitem(SAMPLERS, "broken", SamplerEntry(f"{__name__}:Broken"))
    looks, _ = run(Schedule(6), samplers=("device", "broken", "fake"))
    assert looks.absent.get("broken") == absent
    assert {column.name: column.missing for column in looks.columns}.get("y") == missing
    power = next(values for column, values in zip(looks.columns, looks.values, strict=True) if column.name == "x")
    assert list(power) == [1.0] * 6
    assert looks.ended == "", "the process has sampled to its end"


def test_a_sampler_that_cannot_be_imported_is_left_out_with_its_reason(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SAMPLERS, "broken", SamplerEntry(f"{__name__}:Nothing"))
    looks, _ = run(Schedule(2), samplers=("broken", "fake"))
    assert looks.absent["broken"].startswith(f"{__name__}:Nothing cannot be imported: AttributeError: ")
    assert "cannot be imported" in str(lack_of("broken", Place()))


def test_memory_stays_bounded_by_sampling_half_as_often(run: Run) -> None:
    looks, _ = run(Schedule(55), max_rows=20)
    assert len(looks.times) < 20
    assert looks.times[-1] - looks.times[0] > 0.1 * 55
    steps = {round(after - before, 3) for before, after in pairwise(looks.times)}
    assert steps <= {round(0.1 * 2**power, 3) for power in range(12)}
    assert len(steps) <= 2, "the samples that stay are as far apart as the new ones"
    assert not any(looks.gaps)


@pytest.mark.parametrize("period_s", [0.0, 1.0])
def test_a_power_that_is_sampled_for_days_still_gives_an_energy(run: Run, monkeypatch: pytest.MonkeyPatch, period_s: float) -> None:
    """Once two samples are 1.6 s apart, no more are removed: with a gap of 3 s, there would be no energy."""
    monkeypatch.setitem(SAMPLERS, "fake", replace(SAMPLERS["fake"], period_s=period_s))
    looks, _ = run(Schedule(900), max_rows=100, columns=[{**POWER, "role": "power"}], values=[[10.0]])
    assert looks.period_s == pytest.approx(1.6)
    assert len(looks.times) > 100, "the file grows from then on"
    known = [at for at, value in zip(looks.times, looks.values[0], strict=True) if not math.isnan(value)]
    assert max(after - before for before, after in pairwise(known)) < 2.0
    begin = looks.times[0]
    found = energy_of(looks.times, [Window(begin, looks.times[-1] - begin, 1)], power=looks.values[0])
    assert found.watts == pytest.approx(10.0), found.missing


def test_a_gap_stays_when_its_sample_is_removed(tmp_path: Path) -> None:
    file = LooksFile(tmp_path / "looks", [], {}, 4, 0.1)
    assert not any(file.add(at, [], gap=at == 1) for at in range(3))
    assert file.add(3, [], gap=False), "the file is full"
    file.note(ended="")
    looks = read_looks(tmp_path / "looks")
    assert (list(looks.times), list(looks.gaps)) == ([0.0, 2.0], [0.0, 1.0])


def test_a_sampler_that_takes_much_time_is_asked_less_often(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "MOST_OF_A_CORE", 1e-9)
    looks, _ = run(Schedule(3))
    assert looks.period_s == loop.LONGEST_PERIOD_S


def test_sampling_waits_for_a_slow_source_at_most_half_of_the_time(tmp_path: Path) -> None:
    """Otherwise each sample of every source would come late, and count as a gap."""
    (tmp_path / "fake-sampler.json").write_text(json.dumps({"columns": [POWER], "values": [[1.0]], "slow_s": 0.02}))
    ends = iter([False, True])
    request = SampleRequest(str(tmp_path / "looks"), ("fake",), 0.01, os.getpid(), root=str(tmp_path))
    sample(request, SystemClock(), lambda _seconds: next(ends), lambda _said: None)
    assert read_looks(tmp_path / "looks").period_s >= 0.04


def test_what_reached_the_disk_is_read_after_the_process_died(tmp_path: Path) -> None:
    from shared.columns import Column

    file = LooksFile(tmp_path / "looks", [Column("x", "W", "fake")], {}, 100, 0.1)
    for number in range(5):
        file.add(float(number), [number], gap=False)
    file.flush()
    with (tmp_path / "looks.rows").open("ab") as rows:
        rows.write(b"half a row")
    looks = read_looks(tmp_path / "looks")
    assert list(looks.values[0]) == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert (looks.ended, looks.cpu_s) == (DIED, None)
    assert list(tmp_path.iterdir()) == []
    assert read_looks(tmp_path / "nothing").ended == DIED


def test_it_stays_on_one_core_where_there_are_several() -> None:
    before = os.sched_getaffinity(0)
    try:
        leave_the_measured_cores()
        assert len(os.sched_getaffinity(0)) == 1 or len(before) == 1
    finally:
        os.sched_setaffinity(0, before)


def test_it_imports_nothing_heavy() -> None:
    """It starts beside every measurement, so what it imports takes CPU time from each job."""
    import subprocess
    import sys

    code = (
        "import sys; import worker.samplers.loop; from worker.samplers.registry import default_samplers, make; "
        "from worker.samplers.base import Place; [make(name, Place()) for name in default_samplers() if name != 'nvml']; "
        "print([name for name in ('pydantic', 'psutil', 'numpy', 'pynvml', 'urllib.request', 'ssl') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
