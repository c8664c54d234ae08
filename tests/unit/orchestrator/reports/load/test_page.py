"""Tests what page one says of the peak throughput of a service."""

from __future__ import annotations

from orchestrator.reports.load.page import load_text, of_curve
from orchestrator.reports.load.points import Curve
from orchestrator.reports.load.slo import Point


def said(*points: Point) -> str:
    curve = Curve("redis", "vm · service.redis", "concurrency", None, points=list(points))
    return load_text({"load": [of_curve(curve)], "beside_tools": []})


def test_the_peak_is_no_limit_where_a_point_that_the_client_limited_reached_more() -> None:
    """A table with 40 480 below a peak of 25 018 looks like a mistake. The service did answer them."""
    page = said(Point("job-1", 4, 40_480, client_bound=True), Point("job-2", 16, 25_018))
    assert (
        "25018 requests/s at 16 requests in flight, of the points at which the client was not the limit; the service takes more: " in page
    )
    assert "it answered 40480 requests/s at 4, where the client may have been the limit." in page


def test_the_peak_stands_alone_where_no_point_reached_more() -> None:
    page = said(Point("job-1", 4, 9_000, client_bound=True), Point("job-2", 16, 25_018))
    assert "- **Peak throughput**: 25018 requests/s at 16 requests in flight.\n" in page
