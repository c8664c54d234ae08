"""The load before a measurement is seen over a window that costs short jobs no time."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime

import pytest

from shared.clock import FakeClock
from worker.hardware.noise_probe import MIN_WINDOW_S, Measured, NoiseProbe


def _measure(probe: NoiseProbe, clock: FakeClock, lasts_s: float) -> float:
    """One measurement. Returns how long the look before it waited."""
    begin = clock.monotonic()
    probe.before("fake", os.getpid(), {})
    waited_s = clock.monotonic() - begin
    clock.advance(lasts_s)
    probe.after(Measured(cpu_s=0.0))
    return waited_s


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the CPU time of the last measurement is not known, and it waits")
def test_short_jobs_that_follow_each_other_do_not_wait_for_the_window() -> None:
    clock = FakeClock(datetime(2026, 1, 1, tzinfo=UTC))
    probe = NoiseProbe(clock)
    probe.remember(os.getpid())
    waits = []
    for _ in range(20):
        waits.append(_measure(probe, clock, lasts_s=0.01))
        clock.advance(0.01)
    assert waits[0] == pytest.approx(MIN_WINDOW_S)
    assert waits[1:] == [pytest.approx(0.0)] * 19


def test_a_first_measurement_right_after_the_start_waits_for_a_window_that_tells_something() -> None:
    clock = FakeClock(datetime(2026, 1, 1, tzinfo=UTC))
    probe = NoiseProbe(clock)
    probe.remember(os.getpid())
    clock.advance(0.02)
    assert _measure(probe, clock, lasts_s=60.0) == pytest.approx(MIN_WINDOW_S - 0.02)
    clock.advance(0.02)
    assert _measure(probe, clock, lasts_s=1.0) == pytest.approx(MIN_WINDOW_S - 0.02), "a window that long says nothing of just before"
