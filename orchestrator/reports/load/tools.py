"""Says what a curve of a trusted tool means, and compares it with the curve of our own clients that asked for the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.reports.load.points import LEVELS, Curve
from orchestrator.reports.load.slo import Point
from orchestrator.reports.page_texts import figure_text
from shared.markdown import cell
from shared.services.native_tools import OURS


def pairs(curves: Sequence[Curve]) -> Iterator[tuple[Curve, Curve]]:
    """Yield the curve of each tool with the curve of our own clients that differs in nothing else."""
    ours = {curve.apart_from_driver: curve for curve in curves if curve.driver == OURS}
    for curve in curves:
        if curve.driver != OURS and curve.apart_from_driver in ours:
            yield curve, ours[curve.apart_from_driver]


def beside(theirs: Curve, ours: Curve) -> dict[str, Any]:
    """Return the levels that both measured, with the ratios of our own clients to the tool."""
    own = {point.level: point for point in ours.points}
    return {
        "driver": theirs.driver,
        "where": theirs.where,
        "level": LEVELS[theirs.swept],
        "definitions": list(theirs.definitions),
        "levels": [_level(point, own[point.level]) for point in theirs.points if point.level in own],
    }


def _level(theirs: Point, ours: Point) -> dict[str, Any]:
    return {
        "level": theirs.level,
        "requests_per_s": {"tool": theirs.per_s, "ours": ours.per_s, "ratio": _ratio(ours.per_s, theirs.per_s)},
        "latency_ms_p50": {"tool": theirs.p50, "ours": ours.p50, "ratio": _ratio(ours.p50, theirs.p50)},
        "jobs": {"tool": theirs.job_id, "ours": ours.job_id},
    }


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return ours / theirs if ours is not None and theirs else None


def beside_text(compared: Sequence[Mapping[str, Any]]) -> str:
    """Return the section of the report, or an empty text if no tool was compared with our own clients."""
    parts = []
    for one in compared:
        tool = cell(str(one["driver"]))
        lines = [f"**{tool}** on {cell(str(one['where']))}. The ratio is that of our own clients to {tool}.", ""]
        lines += [f"| {one['level']} | requests/s of {tool} | of our clients | ratio | p50 ms of {tool} | of our clients | ratio |"]
        lines += ["| ---: | ---: | ---: | ---: | ---: | ---: | ---: |", *map(_row, one["levels"])]
        parts.append("\n".join(lines))
    return "## Our clients beside trusted tools\n\n" + "\n\n".join(parts) + "\n\n" if parts else ""


def _row(level: Mapping[str, Any]) -> str:
    values = [
        "–" if level[figure][who] is None else figure_text(level[figure][who])
        for figure in ("requests_per_s", "latency_ms_p50")
        for who in ("tool", "ours", "ratio")
    ]
    return f"| {level['level']:g} | {' | '.join(values)} |"
