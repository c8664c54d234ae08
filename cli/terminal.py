"""How the command line speaks: results on standard output, everything said about them on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.panel import Panel
from rich.segment import Segment
from rich.text import Text

from shared.controls import visible
from shared.errors import FleetmarkError
from shared.masking import masked

PIPED_WIDTH = 200  # a pipe has no width; rich would cut tables at 80


class Screen(Console):
    """What others wrote (a name, an error, a dead letter) does not move this terminal's cursor or change its colours."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(shown(segment.text), segment.style)


# Names of models and campaigns are data: a bracket in them is a bracket.
out = Screen(markup=False, highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)
err = Screen(stderr=True, markup=False, highlight=False, width=None if sys.stderr.isatty() else PIPED_WIDTH)


def shown(text: str) -> str:
    """A text of others, in lines, as a terminal may have it."""
    return visible(text, keep="\n\t")


def show_json(data: Any) -> None:
    """Data for a script: JSON on standard output, nothing else."""
    text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    sys.stdout.write(shown(text) if sys.stdout.isatty() else text)


def show_error(error: FleetmarkError) -> None:
    """One panel: what happened, each wrong field on a line of its own."""
    text = Text(masked(error.detail))
    for field in error.fields:
        if field.message not in error.detail or len(error.fields) > 1:
            text.append(f"\n• {field.path}: ", style="bold")
            text.append(masked(field.message))
    if not err.is_terminal:
        err.print(Text("error: ").append_text(text), soft_wrap=True)
        return
    err.print(Panel(text, title=Text(getattr(error, "name", type(error).__name__)), title_align="left", border_style="red"))


def say(text: str) -> None:
    """A remark beside the results; a script that reads standard output never sees it."""
    err.print(text)
