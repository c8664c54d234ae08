"""Tests the energy against devices whose energy is known: counters that step on a known schedule, and known courses of power."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from shared.energy import Unwrapped, Window, average, energy_of, highest

NAN = math.nan


def times_of(seconds: float, period_s: float = 0.1) -> list[float]:
    return [round(period_s * place, 9) for place in range(round(seconds / period_s) + 1)]


def stepping(times: list[float], watts: float, step_s: float) -> list[float]:
    """Return a counter that shows, at each moment, the energy until its last step."""
    return [watts * step_s * math.floor(at / step_s + 1e-9) for at in times]


@pytest.mark.parametrize("step_s", [0.001, 0.02, 0.1])
def test_a_counter_that_steps_on_a_known_schedule_gives_the_energy_within_one_step(step_s: float) -> None:
    times = times_of(30)
    window = Window(5.03, 20.0, 400)
    found = energy_of(times, [window], counter=stepping(times, 42.0, step_s))
    assert found.source == "counter"
    assert found.joules == pytest.approx(42.0 * 20, rel=step_s / 19.8 + 1e-9)
    assert found.per_inference == pytest.approx(2.1, rel=0.006)
    assert found.watts == pytest.approx(42.0, rel=0.006)
    assert found.steps >= 100


def test_only_the_timed_inferences_count_and_not_what_is_between_them() -> None:
    """The device takes 10 W while a process starts, and 50 W while it measures. The average over everything would be 30 W."""
    times = times_of(40)
    power = [50.0 if at % 8 >= 4 else 10.0 for at in times]
    counter = np.concatenate([[0.0], np.cumsum([0.1 * (50.0 if at % 8 >= 4 - 1e-9 else 10.0) for at in times[:-1]])])
    windows = [Window(8 * turn + 4.0, 3.95, 100) for turn in range(5)]
    found = energy_of(times, windows, counter=list(counter), power=power)
    assert found.source == "counter"
    assert found.watts == pytest.approx(50.0, rel=0.01)
    assert found.repeats == pytest.approx([50.0 * 3.95 / 100] * 5, rel=0.01)
    assert found.checked == pytest.approx(1.0, rel=0.01)


def test_a_slow_counter_has_too_few_steps_and_the_sampled_power_takes_over() -> None:
    times = times_of(30)
    counter = stepping(times, 40.0, 1.0)
    alone = energy_of(times, [Window(0.0, 30.0, 10)], counter=counter)
    assert alone.joules is None
    assert "was seen to step 30 times in 30 s" in alone.missing
    both = energy_of(times, [Window(0.0, 30.0, 10)], counter=counter, power=[40.0] * len(times))
    assert both.source == "integrated"
    assert both.joules == pytest.approx(1200.0)


def test_the_documented_steps_of_a_counter_count_where_samples_are_too_rare_to_show_them() -> None:
    times = times_of(6)
    counter = stepping(times, 15.0, 0.001)
    assert energy_of(times, [Window(0.0, 6.0, 10)], counter=counter).joules is None, "60 samples show at most 60 steps"
    assert energy_of(times, [Window(0.0, 6.0, 10)], counter=counter, step_s=0.001).joules == pytest.approx(90.0, rel=1e-6)


def test_too_short_is_said_with_what_would_be_enough() -> None:
    times = times_of(10)
    found = energy_of(times, [Window(1.0, 4.9, 100)], counter=stepping(times, 50.0, 0.01), power=[50.0] * len(times))
    assert (found.source, found.joules, found.per_inference, found.watts) == ("", None, None, None)
    assert found.missing == (
        "too short: the timed inferences took 4.9 s, and an energy needs 5 s and 100 steps of the counter; ask for more inferences"
    )


def test_a_counter_and_a_power_that_disagree_give_no_energy() -> None:
    times = times_of(20)
    fine = energy_of(times, [Window(0, 20, 1)], counter=stepping(times, 100.0, 0.05), power=[109.0] * len(times))
    assert fine.checked == pytest.approx(1.09, rel=0.01)
    assert fine.joules == pytest.approx(2000, rel=0.01)
    wrong = energy_of(times, [Window(0, 20, 1)], counter=stepping(times, 100.0, 0.05), power=[125.0] * len(times))
    assert wrong.joules is None
    assert wrong.checked == pytest.approx(1.25, rel=0.01)
    assert "they differ by 25%, and 10% is allowed" in wrong.missing


def test_a_gap_of_three_seconds_ends_the_trapezoid_and_a_shorter_one_does_not() -> None:
    """The power grows from 0 to 100 W, so a trapezoid over a gap would be right here. It is refused because that cannot be known."""
    for gap_s, source in ((2.9, "integrated"), (3.0, "")):
        times = [at for at in times_of(10) if not 4.0 < at < 4.0 + gap_s - 1e-9]
        found = energy_of(times, [Window(0.0, 10.0, 50)], power=[10 * at for at in times])
        assert found.source == source
        if source:
            assert found.joules == pytest.approx(500.0, rel=1e-6)
    assert "1 of 1 repeats samples were late or missing" in found.missing


def test_a_counter_needs_no_samples_in_between() -> None:
    times = [at for at in times_of(40) if not 10.0 < at < 20.0]
    assert energy_of(times, [Window(0.0, 40.0, 1)], counter=stepping(times, 10.0, 0.01)).joules == pytest.approx(400.0, rel=1e-3)


def test_nulls_are_left_out_and_a_source_that_vanishes_early_gives_no_energy() -> None:
    times = times_of(20)
    vanished = [at * 30.0 if at < 3 else NAN for at in times]
    assert "too few samples: they cover" in energy_of(times, [Window(0.0, 20.0, 1)], counter=vanished, step_s=0.001).missing
    some = [at * 30.0 if round(at * 10) % 2 else NAN for at in times]
    assert energy_of(times, [Window(0.0, 20.0, 1)], counter=some, step_s=0.001).joules == pytest.approx(600.0, rel=1e-6)


def test_repeats_that_were_sampled_well_enough_count_and_the_others_do_not() -> None:
    times = [at for at in times_of(30) if not 10.0 <= at <= 20.0]
    windows = [Window(0.0, 9.9, 100), Window(10.0, 10.0, 100), Window(20.0, 10.0, 100)]
    found = energy_of(times, windows, power=[20.0] * len(times))
    assert found.inferences == 200
    assert found.per_inference == pytest.approx(20.0 * 19.9 / 200)
    assert len(found.repeats) == 2


def test_without_samples_or_without_windows_the_reason_is_said() -> None:
    assert energy_of([], [Window(0.0, 10.0, 1)]).missing == "nothing that measures energy or power was sampled"
    assert energy_of([0.0, 1.0], [], power=[1.0, 1.0]).missing == "nothing was timed"


def test_a_counter_that_starts_again_at_zero_goes_on_growing() -> None:
    """The package takes 150 W for an hour. Its counter starts again at 262 143.328850 J after 1 748 s."""
    modulus = 262_143.328850
    total = Unwrapped(modulus)
    truth = [150.0 * second for second in range(3600)]
    shown = [(100_000.0 + joules) % modulus for joules in truth]
    assert [total.add(value) for value in shown] == pytest.approx(truth)


def test_a_counter_that_was_set_to_zero_is_no_counter_that_came_to_its_end() -> None:
    """Taken for one, it would seem to have counted the 257 kJ that were left of its range, within a tenth of a second."""
    total = Unwrapped(262_143.328850)
    assert [total.add(value) for value in (5_000.0, 5_100.0, 0.0, 100.0)] == [0.0, 100.0, 0.0, 100.0]


def test_a_counter_that_falls_within_a_window_gives_no_energy_and_never_a_negative_one() -> None:
    """A GPU at 100 W, whose driver is loaded again after 15 s: the difference over 20 s would be -500 J."""
    times = times_of(20)
    counter = [1_000.0 + 100.0 * at if at < 15 else 100.0 * (at - 15) for at in times]
    found = energy_of(times, [Window(0.0, 20.0, 100)], counter=counter)
    assert found.joules is None
    assert "fell from 2490 J to 0 J" in found.missing
    power = energy_of(times, [Window(0.0, 20.0, 100)], counter=counter, power=[100.0] * len(times))
    assert power.source == "integrated"
    assert power.joules == pytest.approx(2_000.0)
    between = energy_of(times, [Window(0.0, 10.0, 50), Window(15.0, 5.0, 25)], counter=counter)
    assert between.joules == pytest.approx(1_500.0), "it fell while nothing was timed"


@pytest.mark.parametrize(
    ("moves", "said"),
    [(lambda _: False, "never moved"), (lambda at: at < 12, "stood still for 8"), (lambda at: at > 6, "stood still for 6")],
)
def test_a_counter_that_stands_still_gives_no_energy_though_its_steps_are_documented(moves: Callable[[float], bool], said: str) -> None:
    """Virtual machines have counters that never move: the energy would be 0 J, and that of one that stops would be too small."""
    times = times_of(20)
    taken, counter = 0.0, []
    for at in times:
        taken += 3.0 if moves(at) else 0.0
        counter.append(taken)
    windows = [Window(0.0, 20.0, 100)]
    found = energy_of(times, windows, counter=counter, step_s=0.001)
    assert found.joules is None
    assert f"the counter of energy {said}" in found.missing
    assert energy_of(times, windows, counter=counter, power=[30.0] * len(times), step_s=0.001).source == "integrated"


def test_a_counter_with_few_and_uneven_steps_has_not_stopped() -> None:
    """A battery shows its energy in steps of 36 J. At about 12 W, there are 3 s between two of them, and sometimes 6 s."""
    times = times_of(600)
    counter = [36.0 * (math.floor(at / 3) if at % 30 < 24 else math.floor(at / 6) * 2) for at in times]
    found = energy_of(times, [Window(0.0, 600.0, 100)], counter=counter)
    assert found.source == "counter"
    assert found.watts == pytest.approx(12.0, rel=0.02)


@pytest.mark.parametrize("watts", [0.0, -5.0])
def test_a_meter_that_shows_no_power_gives_no_energy(watts: float) -> None:
    times = times_of(20)
    found = energy_of(times, [Window(0.0, 20.0, 100)], power=[watts] * len(times))
    assert found.joules is None
    assert "which no device takes: its meter does not work" in found.missing


def test_a_counter_without_a_known_range_cannot_have_come_to_its_end() -> None:
    total = Unwrapped(0.0)
    assert [total.add(value) for value in (5.0, 9.0, 1.0, 2.0)] == [0.0, 4.0, 0.0, 1.0]


def test_averages_and_peaks_are_of_the_windows() -> None:
    times, values = [0.0, 1.0, 2.0, 3.0, 4.0], [100.0, 1.0, 3.0, NAN, 50.0]
    assert average(times, values, [Window(0.5, 3.0, 1)]) == 2.0
    assert average(times, values, [Window(2.5, 1.0, 1)]) is None
    assert highest(times, values, [Window(0.5, 3.0, 1)]) == 3.0
    assert highest(times, values) == 100.0
    assert highest(times, [NAN] * 5) is None


def test_noise_on_the_power_does_not_bias_the_energy() -> None:
    random = np.random.default_rng(1)
    times = times_of(60)
    found = [
        energy_of(times, [Window(0.0, 60.0, 1)], power=list(200 + 40 * random.standard_normal(len(times)))).joules or 0.0 for _ in range(50)
    ]
    assert np.mean(found) == pytest.approx(12_000, rel=0.005)
