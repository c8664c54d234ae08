"""Tests when a late look of the guard means that a runner was stopped, and when only the guard was late."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest

from shared.clock import FakeClock
from worker.runner import stillness
from worker.runner.stillness import BEAT_S, CpuTime, Stillness, StillnessWatch, cpu_time


class One:
    def __init__(self) -> None:
        self.pid, self.stillness = 2**22 + 1, Stillness()


@pytest.mark.parametrize(
    ("threads", "used", "stood_still"),
    [
        (1, CpuTime(5.0, 5.0), False),  # one thread calculated all the time
        (64, CpuTime(5.0, 5.0, 64), False),  # the same in a runtime with 64 threads, of which one works
        (64, CpuTime(40.0, 0.0, 64), False),  # the main thread waits, and the others work
        (2, CpuTime(1.5, 0.0, 2), False),  # two threads cannot use so much in one beat
        (64, CpuTime(31.0, 0.4, 64), True),  # all 64 worked for half a second, and were frozen then
        (64, CpuTime(0.1, 0.1, 64), True),
    ],
)
def test_a_late_guard_on_64_cores_voids_only_what_stood_still(
    monkeypatch: pytest.MonkeyPatch, threads: int, used: CpuTime, stood_still: bool
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    clock, one, now = FakeClock(datetime(2026, 1, 1, tzinfo=UTC)), One(), [CpuTime(0.0, 0.0, threads)]
    monkeypatch.setattr(stillness, "cpu_time", lambda _pid: now[0])
    watch = StillnessWatch(clock)
    clock.advance(BEAT_S)
    watch.look([one])
    now[0] = used
    clock.advance(5.0)
    watch.look([one])
    assert (one.stillness.times == 1, one.stillness.still_s) == (stood_still, 5.0 if stood_still else 0.0)


def test_the_cpu_time_of_a_process_and_of_its_main_thread_is_read() -> None:
    before = cpu_time(os.getpid())
    while cpu_time(os.getpid()).main_s < before.main_s + 0.1:
        sum(range(10_000))
    now = cpu_time(os.getpid())
    assert now.all_s > before.all_s + 0.05  # the two are read one after the other, in ticks of 10 ms
    assert now.threads >= 1
    assert cpu_time(2**22 + 1) == CpuTime()
