"""Draws what was sampled beside some jobs: power, temperature, clocks and CPU over time."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from orchestrator.reports.canvas import new_canvas, png, short
from orchestrator.reports.page_parts import Picture
from orchestrator.reports.telemetry import Sampled, Telemetry, read_telemetry
from shared.controls import visible

PLOT = "plots/telemetry.png"
MAX_JOBS = 4
MAX_LOOKED_AT = 12  # the telemetry of at most so many jobs is looked at, to draw some of them
MAX_LINES = 8  # the most lines of one panel
LEAST_SAMPLES = 10  # fewer samples show no course of time
PANELS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("power, W", ("_w",)),
    ("temperature, °C", ("_temperature_c",)),
    ("clock, MHz", ("_mhz",)),
    ("CPU, % of a core", ("_cpu_percent",)),
    ("GPU, %", ("gpu0_percent", "gpu1_percent", "gpu2_percent", "gpu3_percent")),
)

Named = tuple[str, Telemetry]
Line = tuple[str, NDArray[np.float64]]


def telemetry_picture(folder: Path, jobs: Sequence[Sampled], title: str) -> Picture | None:
    """Draw the first jobs whose samples show something. Return None if there are none."""
    drawn: list[tuple[str, Telemetry]] = []
    for job in jobs[:MAX_LOOKED_AT]:
        found = read_telemetry(folder, job.job_id) if len(drawn) < MAX_JOBS else None
        if found is not None and is_drawn(found):
            drawn.append((job.name, found))
    if not drawn:
        return None
    return Picture(PLOT, "What was sampled beside the measurement; what was timed is shaded", telemetry_png(drawn, title))


def is_drawn(found: Telemetry) -> bool:
    """Return whether there is something to see: enough samples, and more than a CPU's use that is null."""
    return found.t.size >= LEAST_SAMPLES and bool(_panels(found))


def telemetry_png(jobs: Sequence[Named], title: str) -> bytes:
    """Return the picture as PNG: one column of panels for each job. What was timed is shaded."""
    drawn = [(name, found, _panels(found)) for name, found in jobs[:MAX_JOBS]]
    shown = [label for label, _ in PANELS if any(label in panels for _, _, panels in drawn)]
    canvas = new_canvas(4.5 + 4.2 * (len(drawn) - 1), 0.8 + 1.8 * len(shown))
    grid = canvas.subplots(len(shown), len(drawn), squeeze=False, sharex="col")
    for place, (name, found, panels) in enumerate(drawn):
        for row, label in enumerate(shown):
            _panel(grid[row][place], found, panels.get(label, []), label if place == 0 else "")
        grid[0][place].set_title(short(name), fontsize=9, loc="left", parse_math=False)
        grid[-1][place].set_xlabel("seconds since the first sample")
    canvas.suptitle(textwrap.shorten(visible(title), 110, placeholder="…"), fontsize=12, x=0.01, ha="left", parse_math=False)
    return png(canvas)


def _panels(found: Telemetry) -> dict[str, list[Line]]:
    """Return the lines of each panel that has any."""
    panels: dict[str, list[Line]] = {}
    for label, endings in PANELS:
        lines = [
            (column.name, values)
            for column, values in zip(found.header.columns, found.values, strict=True)
            if column.name.endswith(endings) and np.isfinite(values).sum() >= 2
        ]
        if lines:
            panels[label] = lines[:MAX_LINES]
    return panels


def _panel(axes: Axes, found: Telemetry, lines: Sequence[Line], label: str) -> None:
    for begin, end in _timed(found):
        axes.axvspan(begin, end, color="0.9", linewidth=0)
    for name, values in lines:
        known = np.isfinite(values)
        # A line breaks where samples are missing. A column that is read once a second is null between, which is no gap.
        steps = np.insert(values[known], np.flatnonzero(found.gap[known][1:]) + 1, np.nan)
        times = np.insert(found.t[known], np.flatnonzero(found.gap[known][1:]) + 1, np.nan)
        axes.plot(times, steps, linewidth=1.0, marker="." if known.sum() < 60 else "", markersize=3, label=name)
    if lines:
        axes.legend(fontsize=7, frameon=False, loc="best")
    else:
        axes.text(0.5, 0.5, "not sampled", ha="center", va="center", transform=axes.transAxes, fontsize=8, color="0.5")
    axes.set_ylabel(label, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _timed(found: Telemetry) -> list[tuple[float, float]]:
    """Return when the timed inferences of each repeat ran, in seconds since the first sample."""
    phases = sorted(found.header.phases, key=lambda one: one.at)
    last = float(found.t[-1])
    ends = [*(one.at for one in phases[1:]), last]
    return [(one.at, min(end, last)) for one, end in zip(phases, ends, strict=False) if one.where == "repeat" and one.phase == "measuring"]
