"""Samples of several turns become those of one job, without what happened between the turns."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

import pytest

from shared.columns import Column
from shared.energy import Window, energy_of
from shared.telemetry import ENERGY
from worker.samplers.looks import DIED, Looks
from worker.supervisor.beside import beside
from worker.supervisor.joined_looks import OTHER_DEVICE, joined
from worker.supervisor.sampling import TOO_SHORT

NAN = math.nan
POWER = Column("w", "W", "fake", role="power", feeds="cpu")
COUNTER = Column("j", "J", "fake", role="energy", feeds="cpu")


def turn(times: Sequence[float], *columns: tuple[Column, Sequence[float]], ended: str = "", cpu_s: float | None = 0.5) -> Looks:
    gaps = array("d", [0.0] * len(times))
    values = [array("d", given) for _, given in columns]
    return Looks([column for column, _ in columns], array("d", times), gaps, values, cpu_s=cpu_s, ended=ended)


def test_the_samples_of_a_single_turn_stay_as_they_are() -> None:
    only = turn([1.0, 2.0], (POWER, [3.0, 4.0]))
    assert joined([only], max_rows=1) is only


def test_a_gap_is_marked_where_a_turn_begins_and_what_sampling_cost_is_added() -> None:
    found = joined([turn([1.0, 1.1], (POWER, [3.0, 4.0])), turn([], (POWER, [])), turn([9.0, 9.1], (POWER, [5.0, 6.0]))])
    assert list(found.times) == [1.0, 1.1, 9.0, 9.1]
    assert list(found.gaps) == [0.0, 0.0, 1.0, 0.0]
    assert list(found.values[0]) == [3.0, 4.0, 5.0, 6.0]
    assert found.cpu_s == 1.5
    assert found.ended == ""


def test_a_counter_does_not_contain_the_energy_of_other_turns() -> None:
    """It starts again at zero in each turn, or it is one that never does, such as that of a GPU."""
    for second in ([0.0, 4.0], [1000.0, 1004.0]):
        found = joined([turn([1.0, 2.0], (COUNTER, [10.0, 13.0])), turn([8.0, 9.0], (COUNTER, second))])
        assert list(found.values[0]) == [10.0, 13.0, 13.0, 17.0]


def test_the_energy_of_a_job_is_the_sum_of_its_own_turns() -> None:
    """It takes 20 W in its turns of 6 s. Between them, another job takes 500 W from the same counter."""
    ticks = [place / 10 for place in range(61)]
    turns = [turn([begin + at for at in ticks], (COUNTER, [begin * 500 + 20.0 * at for at in ticks])) for begin in (0.0, 10.0, 20.0)]
    windows = [Window(begin, 6.0, 60) for begin in (0.0, 10.0, 20.0)]
    found, _ = beside(joined(turns), windows, "cpu")
    (energy,) = [one for one in found if one.name == ENERGY]
    assert energy.value == pytest.approx(20.0 * 18.0 / 180)
    assert energy.repeats == pytest.approx((2.0, 2.0, 2.0))


def test_a_column_that_a_turn_does_not_have_is_null_there_with_the_reason() -> None:
    without = turn([5.0], (POWER, [2.0]))
    without.absent = {"nvml": "the driver does not answer"}
    gpu = Column("gpu0_percent", "percent", "nvml", "GPU-1", "use", "gpu")
    other = Column("gpu0_percent", "percent", "nvml", "GPU-2", "use", "gpu")
    found = joined([turn([1.0], (gpu, [50.0])), without])
    assert [column.name for column in found.columns] == ["gpu0_percent", "w"]
    assert found.columns[0].missing == "the driver does not answer"
    assert str([list(values) for values in found.values]) == str([[50.0, NAN], [NAN, 2.0]])
    moved = joined([turn([1.0], (gpu, [50.0])), turn([5.0], (other, [90.0]))])
    assert str(list(moved.values[0])) == str([50.0, NAN])
    assert (moved.columns[0].device, moved.columns[0].missing) == ("GPU-1", OTHER_DEVICE)


def test_it_says_in_how_many_turns_sampling_ended_too_soon() -> None:
    found = joined([turn([1.0], (POWER, [1.0]), ended=DIED, cpu_s=None), Looks(ended=TOO_SHORT), Looks(ended=TOO_SHORT)])
    assert found.ended == f"{DIED} (in 1 of 3 turns of the job); {TOO_SHORT} (in 2 of 3 turns of the job)"
    assert found.cpu_s is None
    assert list(found.times) == [1.0]
    nothing = joined([Looks(ended=TOO_SHORT), Looks(ended=TOO_SHORT)])
    assert not nothing.times
    assert nothing.ended == f"{TOO_SHORT} (in 2 of 2 turns of the job)"


def test_many_samples_are_thinned_and_keep_their_gaps() -> None:
    found = joined([turn([1.0, 2.0, 3.0], (POWER, [1.0, 2.0, 3.0])), turn([7.0, 8.0], (POWER, [4.0, 5.0]))], max_rows=3)
    assert list(found.times) == [1.0, 3.0, 7.0]
    assert list(found.gaps) == [0.0, 0.0, 1.0]
    assert list(found.values[0]) == [1.0, 3.0, 4.0]
    assert found.period_s == pytest.approx(0.2)


def test_the_readings_of_a_seldom_read_power_stay_and_are_never_too_far_apart_for_an_energy() -> None:
    """It is read in every eighth sample. Each turn lasts 16 s, and the turns begin at any time."""
    turns = []
    for begin in (0.0, 100.3, 200.7):
        times = [begin + place / 10 for place in range(161)]
        turns.append(turn(times, (POWER, [20.0 if place % 8 == 0 else NAN for place in range(161)])))
    found = joined(turns, max_rows=40)
    assert found.period_s == pytest.approx(1.6)
    energy = energy_of(found.times, [Window(begin, 16.0, 1) for begin in (0.0, 100.3, 200.7)], power=found.values[0])
    assert energy.watts == pytest.approx(20.0), energy.missing
