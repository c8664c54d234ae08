"""Draws rooflines: one colour for each device, one line for each precision."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from orchestrator.reports.canvas import colours_of, new_canvas, number_log, png, short
from orchestrator.reports.hardware.roofline import Roofline
from orchestrator.reports.page_texts import figure_text
from shared.controls import visible

MAX_LINES = 24  # more would not be readable; the table and results.csv have all


def roofline_png(lines: Sequence[Roofline], total: int, title: str) -> bytes:
    """Return the picture as PNG. There must be at least one line. `total` is how many lines the campaign has."""
    shown = lines[:MAX_LINES]
    canvas = new_canvas(10, 6)
    axes = canvas.add_subplot()
    colours = colours_of([line.where for line in shown])
    low, high = min(line.ridge for line in shown) / 8, max(line.ridge for line in shown) * 8
    for line in shown:
        heights = [line.tflops_at(low), line.tflops, line.tflops]
        axes.plot([low, line.ridge, high], heights, color=colours[line.where], linewidth=1.8)
        axes.plot([line.ridge], [line.tflops], marker="o", markersize=4, color=colours[line.where])
        text = f"{line.precision} {figure_text(line.tflops)} TFLOP/s"
        axes.annotate(text, (high, line.tflops), xytext=(-4, 3), textcoords="offset points", ha="right", fontsize=8)
    for where, colour in colours.items():
        bandwidth = next(line.gb_per_s for line in shown if line.where == where)
        axes.plot([], [], color=colour, label=f"{short(where)}: {figure_text(bandwidth)} GB/s".replace("$", r"\$"))
    axes.set_xscale("log")
    axes.set_yscale("log")
    number_log(axes.xaxis)
    number_log(axes.yaxis)
    axes.set_xlim(low, high)
    axes.set_xlabel("operations for each byte of memory")
    axes.set_ylabel("TFLOP/s (10^12 operations per second)", parse_math=False)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    note = f"\n{len(shown)} of {total} lines" if total > len(shown) else ""
    axes.set_title(textwrap.shorten(visible(title), 90, placeholder="…") + note, fontsize=11, loc="left", parse_math=False)
    return png(canvas)
