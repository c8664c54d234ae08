"""Draws each job's median with its 95 % interval, fastest first within each work."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from matplotlib.axes import Axes

from orchestrator.reports.canvas import colours_of, new_canvas, number_log, png, say_nothing, set_title, short
from orchestrator.reports.drawable import drawable
from orchestrator.reports.inferences.figures import Figure
from orchestrator.reports.inferences.ranking import Ranking

MAX_BARS = 40  # more bars would not be readable on a page; the CSV has all jobs
_LOG_FROM = 10.0  # the axis is logarithmic from this ratio of the largest to the smallest median


Bar = tuple[Figure, str]  # a job, and its name among the jobs of its work


def chosen(rankings: Sequence[Ranking]) -> list[tuple[str, list[Bar]]]:
    """Return the jobs to draw: in turn the fastest of each work, until the picture is full."""
    room = MAX_BARS
    kept: dict[str, list[Bar]] = {}
    depth = 0
    works = [(ranking.work, _drawable(ranking)) for ranking in rankings]
    while room and any(depth < len(bars) for _, bars in works):
        for work, bars in works:
            if room and depth < len(bars):
                kept.setdefault(work, []).append(bars[depth])
                room -= 1
        depth += 1
    return list(kept.items())


def _drawable(ranking: Ranking) -> list[Bar]:
    bars = zip(ranking.figures, ranking.places, strict=True)
    return [(one, place) for one, place in itertools.islice(bars, 2 * MAX_BARS) if drawable(one.median, one.low, one.high)]


def medians_png(rankings: Sequence[Ranking], title: str) -> bytes:
    """Return the picture as PNG. If no job was measured, the picture says so."""
    groups = chosen(rankings)
    bars = [one for _, members in groups for one, _ in members]
    total = sum(len(ranking.figures) for ranking in rankings)
    rows = len(bars) + len(groups)
    canvas = new_canvas(10, max(2.4, 1.5 + 0.32 * rows))
    axes = canvas.add_subplot()
    if bars:
        _draw(axes, groups, bars)
    else:
        say_nothing(axes, total)
    note = f"\n{len(bars)} of {total} jobs: the fastest of each work; all are in results.csv" if total > len(bars) else ""
    set_title(axes, title, note)
    return png(canvas)


def _draw(axes: Axes, groups: list[tuple[str, list[Bar]]], bars: list[Figure]) -> None:
    colours = colours_of([one.where for one in bars])
    places: list[float] = []
    labels: list[str] = []
    titles: list[int] = []
    place = 0
    for work, members in groups:
        titles.append(len(labels))
        places.append(place)
        labels.append(short(work))
        place += 1
        for one, where in members:
            _bar(axes, one, place, colours[one.where])
            places.append(place)
            labels.append(short(where))
            place += 1
    axes.set_yticks(places, labels, fontsize=8.5)
    for index, tick in enumerate(axes.get_yticklabels()):
        tick.set_parse_math(False)  # a `$` in a device's name must stay a `$`
        if index in titles:
            tick.set_fontweight("bold")
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(place - 0.4, -0.7)
    _scale(axes, bars)
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _bar(axes: Axes, one: Figure, place: int, colour: tuple[float, ...]) -> None:
    median = one.median or 0.0
    if one.low is not None and one.high is not None:
        # Few, scattered repeats give an end far below the median (in results of earlier versions, below zero).
        axes.plot([max(one.low, median / 1000), one.high], [place, place], color=colour, linewidth=2.2, solid_capstyle="butt")
        for end in (one.low, one.high):
            axes.plot([max(end, median / 1000)], [place], marker="|", color=colour, markersize=10)
    axes.plot([median], [place], marker="o", color=colour, markersize=4.5)
    interval = f"[{one.low:.4g}, {one.high:.4g}]" if one.low is not None and one.high is not None else "(1 repeat: no interval)"
    note = f"{median:.4g} ms  {interval}"
    end = max(median, one.high or 0.0)
    axes.annotate(note, (end, place), xytext=(8, 0), textcoords="offset points", va="center", fontsize=8, color="0.25")


def _scale(axes: Axes, bars: list[Figure]) -> None:
    medians = [one.median or 0.0 for one in bars]
    reach = max(max(one.high or 0.0, one.median or 0.0) for one in bars)
    if min(medians) > 0 and max(medians) / min(medians) >= _LOG_FROM:
        axes.set_xscale("log")
        axes.set_xlim(min(medians) / 1.6, reach * 8)
        number_log(axes.xaxis)
        axes.set_xlabel("median inference, ms, with 95 % interval over repeats (logarithmic)")
    else:
        axes.set_xlim(0, reach * 1.35 or 1.0)
        axes.set_xlabel("median inference, ms, with 95 % interval over repeats")
