"""Draws the samples of some jobs: how they are distributed (the share of inferences up to each time), and in which order they came."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from orchestrator.reports.canvas import new_canvas, number_log, png, short
from orchestrator.reports.inferences.figures import Figure
from orchestrator.reports.inferences.raw_samples import Series
from shared.controls import visible

MAX_JOBS = 6
MAX_POINTS = 4_000  # the most points of one series; more could not be told apart
_LOG_FROM = 5.0

Drawn = tuple[Figure, str, list[Series]]  # a job, its name, and the inferences of its repeats in milliseconds


def samples_png(jobs: Sequence[Drawn], title: str) -> bytes:
    """Return the picture as PNG, with one row for each job."""
    canvas = new_canvas(13, 0.7 + 2.5 * len(jobs))
    grid = canvas.subplots(len(jobs), 2, squeeze=False, width_ratios=(2, 3))
    for (_, name, repeats), (left, right) in zip(jobs, grid, strict=True):
        _distribution(left, name, repeats)
        _run_chart(right, repeats)
    grid[0][0].legend(fontsize=8, frameon=False, loc="upper left")
    grid[-1][0].set_xlabel("inference, ms")
    grid[-1][1].set_xlabel("number of the inference; a line begins each repeat (a fresh process)")
    canvas.suptitle(textwrap.shorten(visible(title), 110, placeholder="…"), fontsize=12, x=0.01, ha="left", parse_math=False)
    return png(canvas)


def _distribution(axes: Axes, name: str, repeats: list[Series]) -> None:
    for index, values in enumerate(repeats):
        _steps(axes, values, color="tab:blue", linewidth=0.8, alpha=0.45, label="each repeat" if index == 0 else None)
    pooled = np.concatenate(repeats)
    _steps(axes, pooled, color="black", linewidth=1.6, label="all inferences")
    median = float(np.median(pooled))
    axes.axvline(median, color="tab:red", linewidth=0.9)
    axes.annotate(f"median {median:.3g} ms", (median, 0.03), xytext=(4, 0), textcoords="offset points", fontsize=8, color="tab:red")
    if pooled.min() > 0 and pooled.max() / pooled.min() >= _LOG_FROM:
        axes.set_xscale("log")
        number_log(axes.xaxis)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("share of inferences")
    axes.set_title(short(name), fontsize=9, loc="left", parse_math=False)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _steps(axes: Axes, values: Series, **style: object) -> None:
    ordered = np.sort(values)
    share = np.arange(1, ordered.size + 1) / ordered.size
    chosen = np.unique(np.linspace(0, ordered.size - 1, min(ordered.size, MAX_POINTS)).astype(int))
    axes.step(ordered[chosen], share[chosen], where="post", **style)  # type: ignore[arg-type]  # matplotlib types each style apart


def _run_chart(axes: Axes, repeats: list[Series]) -> None:
    begin = 0
    step = max(1, sum(values.size for values in repeats) // MAX_POINTS)
    for index, values in enumerate(repeats):
        places = np.arange(begin, begin + values.size)[::step]
        axes.plot(places, values[::step], linestyle="none", marker=".", markersize=3, color="tab:blue", alpha=0.6)
        axes.plot([begin, begin + values.size - 1], [float(np.median(values))] * 2, color="tab:red", linewidth=1.2)
        if index:
            axes.axvline(begin - 0.5, color="0.8", linewidth=0.8, zorder=0)
        begin += values.size
    if min(values.min() for values in repeats) > 0 and max(v.max() for v in repeats) / min(v.min() for v in repeats) >= _LOG_FROM:
        axes.set_yscale("log")
        number_log(axes.yaxis)
    axes.set_ylabel("ms")
    axes.set_title("in order of time, with the median of each repeat (red)", fontsize=9, loc="left")
    axes.grid(axis="y", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
