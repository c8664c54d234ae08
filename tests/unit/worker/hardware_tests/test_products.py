from __future__ import annotations

import pytest

from worker.hardware_tests import base, conditions, products
from worker.hardware_tests.base import Share
from worker.hardware_tests.conditions import Condition, Conditions
from worker.hardware_tests.products import FIRST_SIZE, Precision, Product, measure, readings

FLOPS = 2.0e10  # the speed of the simulated device


class Time:
    """Is a clock that only the simulated device moves."""

    now = 0.0

    def ns(self) -> int:
        return round(self.now * 1e9)


@pytest.fixture(autouse=True)
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    for module in (base, conditions, products):
        monkeypatch.setattr(module, "perf_counter_ns", time.ns)
    return time


def simulated(time: Time, flops: float = FLOPS, slower_after_s: float = 1e9) -> Precision:
    def make(size: int) -> Product:
        def call() -> None:
            time.now += 2 * size**3 / flops * (2 if time.now > slower_after_s else 1)

        return call

    return Precision("fp32", "simulated", make, 4, 4)


def looked_at() -> Conditions:
    return Conditions(lambda: Condition(2_000.0, 60.0, 100.0, ("heat",)), 3_000.0)


def test_the_figures_are_those_of_a_device_whose_speed_is_known(time: Time) -> None:
    rate = measure(simulated(time), Share(10), looked_at(), 2**40)
    assert rate.size == 2_048  # a product of size 1 024 takes 0.107 s, and one of size 2 048 takes 0.859 s
    assert rate.ended_because == "one call takes more than 0.2 s"
    assert rate.seconds_per_call == pytest.approx(2 * rate.size**3 / FLOPS)
    assert rate.burst == pytest.approx(FLOPS / 1e12)
    assert rate.sustained == pytest.approx(FLOPS / 1e12)
    assert time.now == pytest.approx(10, abs=1)
    assert rate.conditions["clock_mhz_median"] == 2_000.0
    assert rate.conditions["reasons_for_a_slower_clock"] == ["heat"]


def test_a_device_that_gets_hot_is_slower_in_the_long_run_than_in_a_burst(time: Time) -> None:
    rate = measure(simulated(time, slower_after_s=10), Share(40), looked_at(), 2**40)
    assert rate.burst == pytest.approx(FLOPS / 1e12)
    assert rate.sustained == pytest.approx(FLOPS / 2e12)


def test_the_size_stays_within_the_memory(time: Time) -> None:
    rate = measure(simulated(time, 1e11), Share(0.1), looked_at(), 12 * FIRST_SIZE**2)
    assert rate.size == FIRST_SIZE
    assert rate.ended_because == "the next size would take more memory than half of what is free"


def test_the_size_stays_within_the_time(time: Time) -> None:
    rate = measure(simulated(time, 1e9), Share(0.1), looked_at(), 2**40)
    assert rate.size == FIRST_SIZE
    assert rate.ended_because == "the next size would take more than the share of the time"
    assert len(rate.calls) >= 3
    assert time.now < 0.4


def test_a_precision_that_is_not_there_has_two_figures_with_the_reason() -> None:
    sustained, burst = readings(Precision("fp8", why_not="there is no such unit"), None)
    assert (sustained.name, burst.name) == ("fp8_tflops", "fp8_burst_tflops")
    assert (sustained.value, sustained.missing, burst.missing) == (None, "there is no such unit", "there is no such unit")
