"""Tests what a curve over the concurrency says: the peak, and the highest level at which the SLO is kept."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.reports.load.slo import Point, broken, peak, sustained
from shared.kinds.load import Slo

SLO = Slo(p99_latency_ms=10, max_error_rate=0.01)


def point(level: float, p99: float | None, per_s: float = 100.0, success: float | None = 100.0, bound: bool = False) -> Point:
    return Point(f"job-{level:g}", level, per_s, p99=p99, success_rate=success, client_bound=bound)


def test_the_answer_is_the_highest_level_that_keeps_the_slo_together_with_every_lower_one() -> None:
    found = sustained([point(8, 9), point(1, 2), point(4, 11), point(2, 3)], SLO)
    assert found.point is not None
    assert found.point.level == 2  # 8 keeps it, but 4 does not
    assert found.why == "at 4, its p99 is 11 ms, above 10 ms"


def test_a_point_that_the_client_limited_wins_nothing() -> None:
    found = sustained([point(1, 2), point(2, 3, bound=True), point(4, 4)], SLO)
    assert found.point is not None
    assert found.point.level == 1
    assert "the client may have been the limit" in found.why
    fast = point(2, 3, per_s=999.0, bound=True)
    best = peak([point(1, 2), fast])
    assert best is not None
    assert best.level == 1
    assert peak([fast]) is None


def test_all_jobs_of_one_level_must_keep_it() -> None:
    found = sustained([point(1, 2), point(2, 3), replace(point(2, 30), job_id="again")], SLO)
    assert found.point is not None
    assert found.point.level == 1


def test_every_level_or_none_can_keep_it() -> None:
    assert sustained([point(1, 2), point(2, 3)], SLO).why == "every measured level keeps it; the limit lies higher"
    nothing = sustained([point(1, 99)], SLO)
    assert nothing.point is None


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (point(1, 10), ""),
        (point(1, None), "its p99 is not known, because the sample is too small"),
        (point(1, 1, success=98.9), "1.10% of its requests failed, above 1.00%"),
        (point(1, 1, success=99.0), ""),
        (point(1, 1, success=None), "its error rate is not known"),
    ],
)
def test_a_point_that_cannot_show_that_it_keeps_the_slo_does_not_keep_it(one: Point, why: str) -> None:
    assert broken(one, SLO) == why


def test_an_slo_of_tokens_is_kept_up_to_the_level_where_users_wait_too_long() -> None:
    points = [
        Point("a", 1, 10.0, success_rate=100.0, tokens={"ttft_ms_p95": 100.0, "tpot_ms_p50": 9.0}),
        Point("b", 4, 30.0, success_rate=100.0, tokens={"ttft_ms_p95": 450.0, "tpot_ms_p50": 20.0}),
        Point("c", 8, 40.0, success_rate=100.0, tokens={"ttft_ms_p95": 600.0, "tpot_ms_p50": 20.0}),
    ]
    found = sustained(points, Slo(p95_ttft_ms=500, p50_tpot_ms=25))
    assert (found.point, found.why) == (points[1], "at 8, its ttft_ms_p95 is 600 ms, above 500 ms")
    unknown = sustained([Point("a", 1, 10.0, success_rate=100.0)], Slo(p99_ttft_ms=500))
    why = "at 1, its ttft_ms_p99 is not known, because the sample is too small, or the server does not show it"
    assert (unknown.point, unknown.why) == (None, why)
