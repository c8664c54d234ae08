"""Draws the curves of services under load: throughput and latency against the load, and how many requests were answered within a time."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from orchestrator.reports.canvas import colours_of, new_canvas, number_log, png, set_title, short
from orchestrator.reports.drawable import drawable
from orchestrator.reports.load.points import LEVELS, Curve
from orchestrator.reports.load.requests import FOLDER
from orchestrator.reports.load.slo import Point
from shared.distributions import Distribution
from shared.request_records import read_parts

MAX_CURVES = 12  # more would not be readable; results.csv has all
MAX_STEPS = 12  # points whose distribution is drawn
DRAWN = 500  # places of a line
STEPS = {"min": 0.0, "median": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95, "p97": 0.97, "p99": 0.99, "p999": 0.999, "max": 1.0}


def curve_png(curves: Sequence[Curve], title: str) -> bytes:
    """Return the picture as PNG: throughput above, the 99th percentile of the latency below. A hollow point was limited by the client."""
    shown = [replace(curve, points=[point for point in curve.points if _is_drawable(point)]) for curve in curves[:MAX_CURVES]]
    canvas = new_canvas(10, 7)
    above, below = canvas.subplots(2, 1, sharex=True)
    colours = colours_of([f"{curve.name} {curve.where}" for curve in shown])
    for curve in shown:
        colour = colours[f"{curve.name} {curve.where}"]
        levels = [point.level for point in curve.points]
        above.plot(levels, [point.per_s for point in curve.points], color=colour, label=short(f"{curve.name} · {curve.where}"))
        for point in curve.points:
            filled = "white" if point.client_bound else colour
            above.plot([point.level], [point.per_s], marker="o", color=colour, markerfacecolor=filled)
            if point.low is not None and point.high is not None:
                above.plot([point.level, point.level], [point.low, point.high], color=colour, linewidth=1)
        for name, style in (("p50", ":"), ("p99", "-")):
            known = [(point.level, getattr(point, name)) for point in curve.points if getattr(point, name) is not None]
            if known:
                below.plot(*zip(*known, strict=True), color=colour, linestyle=style, marker=".")
    above.set_ylabel("requests per second")
    above.set_ylim(0, 1.2 * max((point.per_s for curve in shown for point in curve.points), default=1.0) or 1.0)  # intervals may be huge
    below.set_ylabel("latency in ms (line: p99, dots: p50)")
    below.set_xlabel(" / ".join(dict.fromkeys(LEVELS[curve.swept] for curve in shown)))
    for axes in (above, below):
        axes.set_xscale("log")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    below.set_yscale("log")
    number_log(below.xaxis)
    number_log(below.yaxis)
    above.legend(fontsize=8, frameon=False)
    bound = any(point.client_bound for curve in shown for point in curve.points)
    note = "\nhollow: the client may have been the limit" if bound else ""
    set_title(above, title, note)
    return png(canvas)


def _is_drawable(point: Point) -> bool:
    return drawable(point.per_s, point.low, point.high, point.p50, point.p99)


def ecdf_png(folder: Path, curves: Sequence[Curve], title: str) -> bytes:
    """Return the picture as PNG: the share of successful requests that were answered within a time.

    Args:
        folder: the folder of the campaign, where the records of the requests are.
    """
    canvas = new_canvas(10, 5)
    axes = canvas.add_subplot()
    listed = [(curve, point) for curve in curves for point in curve.points if point.job_id in curve.latencies]
    shown = listed[:: max(1, -(-len(listed) // MAX_STEPS))]
    colours = colours_of([point.job_id for _, point in shown])
    for curve, point in shown:
        times, shares = _steps(folder / FOLDER / f"{point.job_id}.bin", curve.latencies[point.job_id])
        label = short(f"{curve.name}: {point.level:g} {LEVELS[curve.swept]}")
        axes.plot(times, shares, color=colours[point.job_id], label=label)
    axes.set_xscale("log")
    number_log(axes.xaxis)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("latency in ms")
    axes.set_ylabel("share of the requests")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if shown:
        axes.legend(fontsize=8, frameon=False)
    note = f"\n{len(shown)} of {len(listed)} jobs" if len(listed) > len(shown) else ""
    set_title(axes, title, note)
    return png(canvas)


def _steps(path: Path, latency: Distribution) -> tuple[list[float], list[float]]:
    """Return times and shares, in order: from every request if its records are there, else from the known percentiles."""
    with contextlib.suppress(FileNotFoundError, ValueError):  # the records did not arrive, or were cut; the percentiles are in the result
        blocks = [records["last"][(records["failure"] == 0) & (records["scheduled"] >= 0)] for _, _, records in read_parts(path)]
        if blocks and len(values := np.concatenate(blocks)):
            shares = np.linspace(0, 1, DRAWN)
            return (np.quantile(values, shares) / 1e6).tolist(), shares.tolist()
    known = [(value, share) for name, share in STEPS.items() if (value := getattr(latency, name)) is not None]
    return [value for value, _ in known], [share for _, share in known]
