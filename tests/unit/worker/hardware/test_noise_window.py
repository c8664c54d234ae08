"""Tests how far back the look before a measurement reaches, and when a measurement has to wait for it."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest

from shared.clock import FakeClock
from worker.hardware.noise_probe import MAX_WINDOW_S, MIN_WINDOW_S, Measured, NoiseProbe


def _probe() -> tuple[NoiseProbe, FakeClock]:
    clock = FakeClock(datetime(2026, 3, 1, tzinfo=UTC))
    probe = NoiseProbe(clock)
    probe.remember(os.getpid())
    return probe, clock


def _waited(probe: NoiseProbe, clock: FakeClock) -> float:
    before = clock.monotonic()
    probe.before("cpu.onnx", os.getpid(), {})
    return clock.monotonic() - before


def test_small_jobs_that_follow_each_other_wait_for_the_window_once_and_not_before_each_of_them() -> None:
    """Each job measures for 10 ms, with 5 ms between two jobs. The window covers the last few jobs, but does not count their own work."""
    probe, clock = _probe()
    waits = []
    for _ in range(10):
        waits.append(_waited(probe, clock))
        clock.advance(0.010)
        probe.after(Measured())
        clock.advance(0.005)
    assert waits[0] == MIN_WINDOW_S
    assert sum(waits[1:]) <= MIN_WINDOW_S, waits
    assert waits[5:] == [0.0] * 5


def test_after_a_pause_nothing_is_waited_for() -> None:
    probe, clock = _probe()
    clock.advance(MAX_WINDOW_S / 2)
    assert _waited(probe, clock) == 0.0


def test_a_look_that_is_too_old_says_nothing_about_the_load_just_before() -> None:
    probe, clock = _probe()
    clock.advance(MAX_WINDOW_S + 1)
    assert _waited(probe, clock) == pytest.approx(MIN_WINDOW_S)
