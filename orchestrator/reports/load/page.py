"""Makes the report of services under load. Page one says how much the service takes, and whether it was the service or the client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.reports.bundle import CampaignBundle, JobRecord
from orchestrator.reports.load.partial import partial_said
from orchestrator.reports.load.points import LEVELS, Curve, Curves
from orchestrator.reports.load.slo import Point, peak, sustained
from orchestrator.reports.load.store_texts import store_table
from orchestrator.reports.load.token_texts import token_table, token_warnings
from orchestrator.reports.load.tools import beside, beside_text, pairs
from orchestrator.reports.outcomes.page import OutcomePage
from orchestrator.reports.page_parts import MAX_LISTED, Picture
from orchestrator.reports.page_texts import figure_text
from shared.jobs import JobStatus
from shared.markdown import cell
from shared.services.native_tools import OURS

CURVE = "plots/load.png"
ECDF = "plots/latency.png"
CLIENT_BOUND = "client_bound"  # the figure that says whether the client may have been the limit
_SECTION = "## The answer"
_MAIN = {  # what is said of a job that did not run to its end
    "requests_per_s": "{} requests/s",
    "latency_ms_p50": "p50 {} ms",
    "latency_ms_p99": "p99 {} ms",
    "success_rate": "{} % succeeded",
}
_METHOD = (
    "**Throughput** is the number of requests that succeeded within the measured window, divided by the window. What was sent before and "
    "after it is listed apart.",
    "**Latency** is the time from sending a request to the last byte of its answer. With a rate, the latency from the *scheduled* moment "
    "is given, too: it is what a user waits.",
    "The **ceiling** is what the same clients reach on this device against a server that does nothing. A point above 60 % of it, or whose "
    "requests were sent late, is `client-bound`: it says nothing of the service, and wins nothing.",
    "Under the **SLO**, a level counts only if it and every lower one keep it.",
)


class LoadPage(OutcomePage):
    """Adds what the service takes to the page of outcomes."""

    method = (*OutcomePage.method, *_METHOD)

    def __init__(self, kind: str, headline: str, labels: Mapping[str, str], varied: Sequence[str]) -> None:
        super().__init__(kind, headline, labels, varied)
        self._curves = Curves()

    def add(self, job: JobRecord) -> None:
        super().add(job)
        outcome = job.result.outcome if job.result is not None else None
        if said := [one for one in (partial_said(outcome), *token_warnings(outcome)) if one]:
            self.jobs[-1] = replace(self.jobs[-1], warnings=(*self.jobs[-1].warnings, *said))
        if _is_client_bound(job):
            self.jobs[-1] = replace(self.jobs[-1], cannot_win="client-bound and wins nothing")
        if job.status is not JobStatus.COMPLETE and (measured := _measured_until_then(job)):
            self.jobs[-1] = replace(self.jobs[-1], error=f"{measured}: {self.jobs[-1].error}")
        self._curves.add(job, self.jobs[-1].where, self.jobs[-1].parameters)

    def pictures(self, folder: Path, title: str) -> Iterator[Picture]:
        curves = self._curves.all()
        if not curves:
            return
        from orchestrator.reports.load.plots import curve_png, ecdf_png  # matplotlib costs a second of CPU and 60 MB

        yield Picture(CURVE, "Throughput and latency against the load", curve_png(curves, title))
        yield Picture(ECDF, "The share of requests that were answered within a time", ecdf_png(folder, curves, title))

    def content(self, bundle: CampaignBundle, pictures: Sequence[tuple[str, str]]) -> dict[str, Any]:
        curves = self._curves.all()
        content = super().content(bundle, pictures)
        compared = [beside(theirs, ours) for theirs, ours in pairs(curves)][:MAX_LISTED]
        of_curves = [of_curve(curve) for curve in curves[:MAX_LISTED]]
        return {**content, "plot": CURVE, "load": of_curves, "load_total": len(curves), "beside_tools": compared}

    def markdown(self, content: dict[str, Any]) -> str:
        before, section, after = super().markdown(content).partition(_SECTION)
        return before + load_text(content) + section + after


def _is_client_bound(job: JobRecord) -> bool:
    """Return whether the client and not the service may have been the limit."""
    outcome = job.result.outcome if job.result is not None else None
    figure = outcome.figure(CLIENT_BOUND) if outcome is not None else None
    return figure is not None and bool(figure.value)


def _measured_until_then(job: JobRecord) -> str:
    """Return the main figures of a job that failed or was cancelled, in words; empty if nothing was measured."""
    outcome = job.result.outcome if job.result is not None else None
    if outcome is None or not outcome.partial:
        return ""
    figures = {name: outcome.figure(name) for name in _MAIN}
    said = [
        _MAIN[name].format(figure_text(figure.value)) for name, figure in figures.items() if figure is not None and figure.value is not None
    ]
    return f"{outcome.detail.get('requests', 0)} requests were measured before it ended ({', '.join(said)})"


def of_curve(curve: Curve) -> dict[str, Any]:
    """Return what `report.json` holds of a curve."""
    best = peak(curve.points)
    limit = sustained(curve.points, curve.slo) if curve.slo is not None else None
    return {
        "name": curve.name,
        "where": curve.where,
        "driver": curve.driver,
        "definitions": list(curve.definitions),
        "level": LEVELS[curve.swept],
        "peak": _point(best) if best is not None else None,
        "slo": curve.slo.model_dump(mode="json", exclude_none=True) if curve.slo is not None else None,
        "sustained": _point(limit.point) if limit is not None and limit.point is not None else None,
        "sustained_because": limit.why if limit is not None else None,
        "points": [_point(point) for point in curve.points[:MAX_LISTED]],
        **({"tokens": curve.tokens} if curve.tokens else {}),
        **({"stores": curve.stores} if curve.stores else {}),
    }


def _point(point: Point) -> dict[str, Any]:
    return {
        "job_id": point.job_id,
        "level": point.level,
        "requests_per_s": point.per_s,
        "interval": [point.low, point.high] if point.low is not None else None,
        "latency_ms": {"p50": point.p50, "p95": point.p95, "p99": point.p99},
        "success_rate": point.success_rate,
        "client_bound": point.client_bound,
    }


def load_text(content: dict[str, Any]) -> str:
    """Return the part of the page that says what the services take; empty if no curve was measured."""
    if not content["load"]:
        return ""
    parts = ["## What the service takes"]
    for curve in content["load"]:
        parts.append("\n".join([f"**{cell(curve['name'])}** on {cell(curve['where'])}", "", *_sentences(curve)]))
        parts.append(_table(curve))
        if curve.get("tokens"):
            parts.append(token_table(curve))
        if curve.get("stores"):
            parts.append(store_table(curve))
    return "\n\n".join(parts) + "\n\n" + beside_text(content["beside_tools"])


def _sentences(curve: dict[str, Any]) -> Iterator[str]:
    best = curve["peak"]
    if best is None:
        most = max(curve["points"], key=lambda point: float(point["requests_per_s"]))
        reached = f"{figure_text(most['requests_per_s'])} requests/s were reached at {most['level']:g} {curve['level']}"
        yield f"- **Peak throughput**: not known. {reached}, but the client may have been the limit at every point; use more cores for it."
    else:
        p99 = best["latency_ms"]["p99"]
        tail = f"{figure_text(p99)} ms" if p99 is not None else "not known, because the sample is too small"
        reached = f"{figure_text(best['requests_per_s'])} requests/s at {best['level']:g} {curve['level']}"
        yield f"- **Peak throughput**: {reached}{_more(curve)}."
        yield f"- **Tail latency at the peak** (p99): {tail}."
    if curve["driver"] != OURS:
        yield f"- **The clients** are those of {cell(curve['driver'])}: {cell('; '.join(curve['definitions']), 1_000)}."
    if curve["slo"] is not None:
        asked = ", ".join(f"{name} {limit:g}" for name, limit in curve["slo"].items())
        kept = curve["sustained"]
        most = f"{kept['level']:g} {curve['level']}" if kept is not None else "no measured level"
        yield f"- **The SLO** ({asked}) is kept up to {most}: {cell(curve['sustained_because'], 300)}."


def _more(curve: dict[str, Any]) -> str:
    """Return what the service answered at a point that wins nothing, if that is more than the peak. The service takes at least as much."""
    most = max(curve["points"], key=lambda point: float(point["requests_per_s"]))
    if most["requests_per_s"] <= curve["peak"]["requests_per_s"]:
        return ""
    return (
        f", of the points at which the client was not the limit; the service takes more: it answered "
        f"{figure_text(most['requests_per_s'])} requests/s at {most['level']:g}, where the client may have been the limit"
    )


def _table(curve: dict[str, Any]) -> str:
    lines = [
        f"| {curve['level']} | requests/s | p50 ms | p95 ms | p99 ms | succeeded | |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for point in curve["points"]:
        times = " | ".join("–" if value is None else figure_text(value) for value in point["latency_ms"].values())
        succeeded = "–" if point["success_rate"] is None else f"{point['success_rate']:.4g} %"
        bound = "client-bound" if point["client_bound"] else ""
        lines.append(f"| {point['level']:g} | {figure_text(point['requests_per_s'])} | {times} | {succeeded} | {bound} |")
    return "\n".join(lines)
