"""Tests how the report sets the curve of a trusted tool beside that of our own clients."""

from __future__ import annotations

from orchestrator.reports.load.points import Curve
from orchestrator.reports.load.slo import Point
from orchestrator.reports.load.tools import beside, beside_text, pairs


def curve(driver: str, *points: Point, work: str = "w") -> Curve:
    return Curve("postgres", "vm", "concurrency", None, driver, ("it counts otherwise",), work, list(points))


OURS = curve("fleetmark", Point("o1", 1, 50.0, p50=2.0), Point("o4", 4, 90.0, p50=3.0))
THEIRS = curve("pgbench", Point("t1", 1, 100.0, p50=None), Point("t4", 4, 100.0, p50=4.0), Point("t8", 8, 120.0))


def test_a_tool_is_compared_with_our_own_clients_at_the_levels_that_both_measured() -> None:
    ((theirs, ours),) = list(pairs([OURS, THEIRS]))
    found = beside(theirs, ours)
    assert [(level["level"], level["requests_per_s"]["ratio"], level["latency_ms_p50"]["ratio"]) for level in found["levels"]] == [
        (1, 0.5, None),
        (4, 0.9, 0.75),
    ]
    text = beside_text([found])
    assert "| 1 | 100 | 50 | 0.5 | – | 2 | – |" in text
    assert "requests/s of pgbench" in text


def test_a_tool_that_did_other_work_is_compared_with_nothing() -> None:
    assert list(pairs([OURS, curve("pgbench", work="other")])) == []
    assert list(pairs([THEIRS])) == []
    assert beside_text([]) == ""
