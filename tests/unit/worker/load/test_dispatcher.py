"""Tests when requests are sent, with lanes whose answers come on a known schedule."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.request_records import OPEN, record_type
from worker.drivers.base import Lane, Work
from worker.drivers.fake import FakeDriver
from worker.load.arrivals import Shape
from worker.load.dispatcher import Dispatcher
from worker.load.plan import ClientPlan, PhasePlan
from worker.load.spool import Spool


def drive(
    folder: Path, phase: PhasePlan, *, lanes: int = 1, stop_after_s: float = 0.0, **settings: Any
) -> tuple[NDArray[np.void], Dispatcher]:
    async def run() -> Dispatcher:
        plan = ClientPlan("fake", "", settings, (phase,), lanes, 0, 1, "1", 5.0, str(folder))
        driver, spool = FakeDriver(Work("", settings)), Spool(folder / "records")
        opened: list[Lane] = []
        dispatcher = Dispatcher(plan, phase, driver, spool, opened)
        opened += [await driver.open(dispatcher) for _ in range(lanes)]
        if stop_after_s:
            asyncio.get_running_loop().call_later(stop_after_s, dispatcher.stop)
        await dispatcher.run(perf_counter_ns() + 5_000_000)
        spool.close()
        return dispatcher

    dispatcher = asyncio.run(run())
    return np.fromfile(folder / "records", record_type()), dispatcher


def test_what_was_due_before_the_end_of_the_window_is_recorded_whether_or_not_it_was_sent(tmp_path: Path) -> None:
    """The last request is due a hair before the end. It must not get lost, and it is sent because a lane is free."""
    phase = PhasePlan("all", {"ask": 1.0}, Shape("trace", trace_s=(0.0, 0.01, 0.0299999)), duration_s=0.03)
    records, _ = drive(tmp_path, phase, lanes=3)
    assert records["failure"].tolist() == [0, 0, 0]
    records, _ = drive(tmp_path, phase, lanes=1, answer_s=[0.05])
    assert sorted(records["failure"].tolist()) == [0, OPEN, OPEN]


def test_a_rate_that_nobody_can_send_takes_no_memory_and_is_recorded_whole(tmp_path: Path) -> None:
    phase = PhasePlan("all", {"ask": 1.0}, Shape("constant", rate=100_000.0), duration_s=0.1)
    records, dispatcher = drive(tmp_path, phase, answer_s=[0.02])
    assert len(records) == 10_000
    assert 2 <= (records["failure"] == 0).sum() <= 6
    assert not [value for value in vars(dispatcher).values() if hasattr(value, "__len__") and len(value) > 10]


def test_a_phase_that_is_stopped_records_what_was_due_until_then_and_what_is_in_flight_as_open(tmp_path: Path) -> None:
    phase = PhasePlan("all", {"ask": 1.0}, Shape("constant", rate=1_000.0), duration_s=60.0)
    records, dispatcher = drive(tmp_path, phase, lanes=2, stop_after_s=0.1, answer_s=[0.001, 30.0])
    assert dispatcher.stopped_ns is not None
    due = dispatcher.stopped_ns / 1e6  # one a millisecond
    assert len(records) == int(due) + 1
    cut = records[(records["failure"] == OPEN) & ~np.isnan(records["last"])]
    assert len(cut) == 2
    assert (records["failure"] == OPEN).sum() == len(records) - (records["failure"] == 0).sum()


def test_a_closed_loop_that_is_stopped_ends_at_once(tmp_path: Path) -> None:
    phase = PhasePlan("all", {"ask": 1.0}, Shape(), count=1_000_000)
    records, dispatcher = drive(tmp_path, phase, lanes=3, stop_after_s=0.05, answer_s=[0.002])
    assert (records["failure"] == OPEN).sum() == 3
    assert 0 < (dispatcher.stopped_ns or 0) < 2e9
