"""Holds what all pictures have in common: an empty figure, the PNG of it, colours, and labels.

It uses matplotlib's object interface with the Agg canvas, which needs no window system and shares no state between threads.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from shared.controls import visible

_LABEL_WIDTH = 54


def new_canvas(width: float, height: float) -> Canvas:
    """Return an empty figure of this size in inches."""
    canvas = Canvas(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(canvas)
    return canvas


def png(canvas: Canvas) -> bytes:
    """Return a figure as PNG. The same figure always gives the same bytes."""
    content = io.BytesIO()
    canvas.savefig(content, format="png", dpi=120, bbox_inches="tight", pad_inches=0.15, metadata={"Software": None})
    return content.getvalue()


def say_nothing(axes: Axes, total: int) -> None:
    """Write into an empty picture that there is nothing to draw.

    Args:
        total: how many jobs were measured.
    """
    said = "nothing that can be drawn was measured" if total else "no job was measured"
    axes.text(0.5, 0.5, said, ha="center", va="center", transform=axes.transAxes)
    axes.set_axis_off()


def set_title(axes: Axes, title: str, note: str) -> None:
    """Write a title, which is shortened, and a note behind it."""
    axes.set_title(textwrap.shorten(visible(title), 90, placeholder="…") + note, fontsize=11, loc="left", parse_math=False)


def number_log(axis: Axis) -> None:
    """Label a logarithmic axis with plain numbers at 1, 2 and 5."""
    axis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def colours_of(named: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """Return a colour for each name."""
    kinds = list(dict.fromkeys(named))
    palette = mpl.colormaps["tab10" if len(kinds) <= 10 else "tab20"]
    return {kind: palette(index % palette.N) for index, kind in enumerate(kinds)}


def short(text: str) -> str:
    """Return a text for a label: shortened in the middle, so that its beginning (the device) and its end (the runtime) stay readable."""
    text = visible(text)  # fonts have no glyphs for control characters
    if len(text) <= _LABEL_WIDTH:
        return text
    half = (_LABEL_WIDTH - 1) // 2
    return f"{text[:half]}…{text[-half:]}"
