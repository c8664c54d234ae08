"""Draws the headline of each job with its 95 % interval, the best first within each work."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from orchestrator.reports.canvas import colours_of, new_canvas, png, say_nothing, set_title, short
from orchestrator.reports.drawable import drawable
from orchestrator.reports.outcomes.measured import Measured
from orchestrator.reports.outcomes.ranking import Ranking
from orchestrator.reports.page_texts import figure_text

MAX_BARS = 40  # more bars would not be readable on a page; the CSV has all jobs


def headlines_png(rankings: Sequence[Ranking], title: str) -> bytes:
    """Return the picture as PNG. If no job was measured, the picture says so."""
    bars = [(ranking.work, one) for ranking in rankings for one in ranking.jobs if _is_drawable(one)][:MAX_BARS]
    total = sum(len(ranking.jobs) for ranking in rankings)
    canvas = new_canvas(10, max(2.4, 1.5 + 0.4 * len(bars)))
    axes = canvas.add_subplot()
    if bars:
        _draw(axes, bars)
    else:
        say_nothing(axes, total)
    note = f"\n{len(bars)} of {total} jobs; all are in results.csv" if total > len(bars) else ""
    set_title(axes, title, note)
    return png(canvas)


def _is_drawable(one: Measured) -> bool:
    figure = one.headline
    ends = (figure.interval.low, figure.interval.high) if figure is not None and figure.interval is not None else ()
    return figure is not None and drawable(figure.value, *ends)


def _draw(axes: Axes, bars: list[tuple[str, Measured]]) -> None:
    colours = colours_of([one.where for _, one in bars])
    units: dict[str, None] = {}
    for place, (_, one) in enumerate(bars):
        figure, colour = one.headline, colours[one.where]
        assert figure is not None, "only measured jobs are ranked"
        units[f"{figure.name}, {figure.unit} ({figure.better} is better)"] = None
        if figure.interval is not None:
            axes.plot([figure.interval.low, figure.interval.high], [place, place], color=colour, linewidth=2.2)
        axes.plot([figure.value or 0.0], [place], marker="o", color=colour, markersize=4.5)
        end = max(figure.value or 0.0, figure.interval.high if figure.interval else 0.0)
        axes.annotate(figure_text(figure.value), (end, place), xytext=(8, 0), textcoords="offset points", va="center", fontsize=8)
    labels = [f"{short(work)}\n{short(one.where)}" for work, one in bars]
    axes.set_yticks(range(len(bars)), labels, fontsize=8)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)  # a `$` in a device's name must stay a `$`
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.margins(x=0.15)
    axes.set_xlabel("; ".join(units), parse_math=False)
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right", "left"]].set_visible(False)
