from __future__ import annotations

from datetime import UTC, datetime

from shared.clock import FakeClock
from worker.rest import Rest


def test_each_rest_is_twice_as_long_until_the_device_works_again() -> None:
    clock = FakeClock(datetime(2026, 1, 1, tzinfo=UTC))
    rest = Rest(clock)
    rests = [rest.lasts]
    assert [rest.after_failure() for _ in range(8)] == [10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 600.0, 600.0]
    clock.advance(599.9)
    rests.append(rest.lasts)
    clock.advance(0.2)
    rests.append(rest.lasts)
    assert rests == [False, True, False]
    rest.after_success()
    assert rest.after_failure() == 10.0
