from __future__ import annotations

from datetime import UTC, datetime

import pytest

from orchestrator.api import failures
from orchestrator.api.failures import BURST, FORGIVEN_EVERY_S, Failures
from shared.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(datetime(2026, 1, 1, tzinfo=UTC))


def test_an_address_may_fail_in_a_burst_and_then_now_and_then(clock: FakeClock) -> None:
    counted = Failures(clock)
    for _ in range(BURST):
        assert counted.wait_s("a") == 0
        counted.add("a")
    assert counted.wait_s("a") == FORGIVEN_EVERY_S
    assert counted.wait_s("b") == 0
    clock.advance(FORGIVEN_EVERY_S)
    assert counted.wait_s("a") == 0
    counted.add("a")
    assert counted.wait_s("a") == FORGIVEN_EVERY_S


def test_all_is_forgiven_in_time_and_not_more_than_all(clock: FakeClock) -> None:
    counted = Failures(clock)
    counted.add("a")
    clock.advance(1_000_000)
    for _ in range(BURST):
        assert counted.wait_s("a") == 0
        counted.add("a")
    assert counted.wait_s("a") > 0


def test_what_is_remembered_is_bounded(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "REMEMBERED", 3)
    counted = Failures(clock)
    for address in ("a", "b", "a", "c", "d"):
        for _ in range(BURST):
            counted.add(address)
    assert [address for address in "abcd" if counted.wait_s(address) > 0] == ["a", "c", "d"]
