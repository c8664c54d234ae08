"""Draws the answer of a sweep: samples per second against latency, and samples per second along the value that was swept most."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Sequence

from matplotlib.axes import Axes

from orchestrator.reports.canvas import colours_of, new_canvas, number_log, png, short
from orchestrator.reports.drawable import drawable
from orchestrator.reports.inferences.answers import Answer
from orchestrator.reports.inferences.figures import Figure, Pairs
from shared.controls import visible

MAX_LABELS = 24  # points with a label; more labels would cover each other
MAX_LINES = 12
_LOG_FROM = 8.0  # an axis is logarithmic from this ratio of its largest to its smallest value
_STYLES = ("-", "--", ":", "-.")

Point = tuple[Figure, str]  # a job, and its name among the others


def is_drawn(answer: Answer) -> bool:
    """Return whether a question has a trade-off to show: one model, and at least two batches with samples per second."""
    one_model = all(one.work.may_be_ranked() for one in answer.figures)
    return one_model and answer.batches > 1 and sum(map(_is_point, answer.figures)) > 1


def _is_point(one: Figure) -> bool:
    return one.samples_per_s is not None and drawable(one.samples_per_s, one.median, one.low, one.high)


def tradeoff_png(answer: Answer, title: str) -> bytes:
    """Return the picture as PNG. Each device has one curve: its own results that no other of its results beats."""
    points = [(one, place) for one, place in zip(answer.figures, answer.places, strict=True) if _is_point(one)]
    colours = colours_of([one.where for one, _ in points])
    canvas = new_canvas(13, 5.4)
    left, right = canvas.subplots(1, 2)
    _tradeoff(left, points, answer, colours)
    _along(right, points, colours)
    canvas.suptitle(textwrap.shorten(visible(title), 110, placeholder="…"), fontsize=12, x=0.01, ha="left", parse_math=False)
    return png(canvas)


def _tradeoff(axes: Axes, points: list[Point], answer: Answer, colours: dict[str, tuple[float, ...]]) -> None:
    front = answer.front
    label = f"on the front: nothing {'' if answer.compared else 'on its device '}is better in both"
    by_kind: dict[str, list[Figure]] = defaultdict(list)
    for one, _ in points:
        by_kind[one.where].append(one)
    for kind, members in by_kind.items():
        curve = _envelope(members)
        axes.plot(
            [one.median or 0.0 for one in curve],
            [one.samples_per_s or 0.0 for one in curve],
            color=colours[kind],
            linewidth=1.6,
            alpha=0.75,
            label=short(kind),
            zorder=2,
        )
        for one in members:
            _cross(axes, one, colours[kind])
    best = [one for one, _ in points if one.job_id in front]
    axes.plot(
        [one.median or 0.0 for one in best],
        [one.samples_per_s or 0.0 for one in best],
        linestyle="none",
        marker="D",
        markersize=10,
        markerfacecolor="none",
        markeredgecolor="black",
        label=label,
        zorder=4,
    )
    labelled = points if len(points) <= MAX_LABELS else [(one, place) for one, place in points if one.job_id in front][:MAX_LABELS]
    for one, place in labelled:
        name = place.removeprefix(f"{one.where} · ")
        axes.annotate(
            short(name),
            (one.median or 0.0, one.samples_per_s or 0.0),
            xytext=(7, -11),
            textcoords="offset points",
            fontsize=7.5,
            color="0.25",
            parse_math=False,
        )
    _scale(axes, "x", [one.median or 0.0 for one, _ in points])
    _scale(axes, "y", [one.samples_per_s or 0.0 for one, _ in points])
    axes.margins(x=0.14, y=0.12)
    axes.set_xlabel("latency: median of one call, ms, with 95 % interval")
    axes.set_ylabel("throughput: samples/s, with 95 % interval")
    axes.set_title("Better is up and to the left", fontsize=10, loc="left")
    _finish(axes)


def _cross(axes: Axes, one: Figure, colour: tuple[float, ...]) -> None:
    """Draw a job as a point with both of its intervals."""
    median, rate = one.median or 0.0, one.samples_per_s or 0.0
    if one.low is not None and one.high is not None:
        axes.plot([one.low, one.high], [rate, rate], color=colour, linewidth=1, alpha=0.6)
    if one.rate_low is not None and one.rate_high is not None:
        axes.plot([median, median], [one.rate_low, one.rate_high], color=colour, linewidth=1, alpha=0.6)
    axes.plot([median], [rate], marker="o", color=colour, markersize=4.5, zorder=3)


def _envelope(members: Sequence[Figure]) -> list[Figure]:
    kept: list[Figure] = []
    for one in sorted(members, key=lambda one: (one.median or 0.0, -(one.samples_per_s or 0.0))):
        if not kept or (one.samples_per_s or 0.0) > (kept[-1].samples_per_s or 0.0):
            kept.append(one)
    return kept


def _along(axes: Axes, points: list[Point], colours: dict[str, tuple[float, ...]]) -> None:
    """Draw samples per second against the batch, with one line for each device and combination of the other settings."""
    lines: dict[tuple[str, Pairs], list[Figure]] = defaultdict(list)
    for one, _ in points:
        lines[one.where, one.answers].append(one)
    several = {kind: sum(key[0] == kind for key in lines) > 1 for kind in colours}
    drawn: dict[str, int] = defaultdict(int)
    for (kind, answers), members in list(lines.items())[:MAX_LINES]:
        differing = [f"{name} {text}" for name, text in answers if len({dict(key[1]).get(name) for key in lines if key[0] == kind}) > 1]
        name = " · ".join([*([kind] if len(colours) > 1 or not several[kind] else []), *differing])
        members.sort(key=lambda one: one.work.batch or 1)
        batches = [one.work.batch or 1 for one in members]
        style = _STYLES[drawn[kind] % len(_STYLES)]
        drawn[kind] += 1
        axes.plot(
            batches,
            [one.samples_per_s or 0.0 for one in members],
            style,
            marker="o",
            markersize=4.5,
            color=colours[kind],
            label=short(name),
        )
        for one, batch in zip(members, batches, strict=True):
            if one.rate_low is not None and one.rate_high is not None:
                axes.plot([batch, batch], [one.rate_low, one.rate_high], color=colours[kind], linewidth=1, alpha=0.6)
    batches = sorted({one.work.batch or 1 for one, _ in points})
    if batches[-1] / batches[0] >= _LOG_FROM:
        axes.set_xscale("log", base=2)
    axes.set_xticks(batches, [str(batch) for batch in batches])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("batch size")
    axes.set_ylabel("samples/s, with 95 % interval")
    left_out = f" ({MAX_LINES} of {len(lines)} lines)" if len(lines) > MAX_LINES else ""
    axes.set_title(f"What a larger batch brings{left_out}", fontsize=10, loc="left")
    _finish(axes)


def _scale(axes: Axes, which: str, values: list[float]) -> None:
    if min(values) > 0 and max(values) / min(values) >= _LOG_FROM:
        if which == "x":
            axes.set_xscale("log")
            number_log(axes.xaxis)
        else:
            axes.set_yscale("log")
            number_log(axes.yaxis)


def _finish(axes: Axes) -> None:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    for text in axes.legend(fontsize=8, frameon=False, loc="best").get_texts():
        text.set_parse_math(False)
