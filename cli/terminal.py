"""How the command line speaks: it prints results on standard output, and everything it says about them on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.panel import Panel
from rich.segment import Segment
from rich.text import Text

from shared.controls import visible
from shared.errors import FleetmarkError
from shared.masking import masked
from shared.streams import takes_unicode

PIPED_WIDTH = 200  # a pipe has no width; rich would cut tables at 80


class Screen(Console):
    """A console on which the texts of others (a name, an error, a dead letter) cannot move the cursor or change colours."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(shown(segment.text), segment.style)


def _width(stream: TextIO | None) -> int | None:
    """Return the width of a console on this stream; None means the terminal's own. A stream that was closed is None."""
    return None if stream is not None and stream.isatty() else PIPED_WIDTH


# Names of models and campaigns are data: a bracket in them is a bracket.
out = Screen(markup=False, highlight=False, width=_width(sys.stdout))
err = Screen(stderr=True, markup=False, highlight=False, width=_width(sys.stderr))


def shown(text: str) -> str:
    """Return a text of somebody else as a terminal may show it: control characters become visible, line breaks stay."""
    return visible(text, keep="\n\t")


def show_json(data: Any) -> None:
    """Print data for a script: JSON on standard output, and nothing else."""
    text = json.dumps(data, indent=2, ensure_ascii=not takes_unicode(sys.stdout)) + "\n"
    sys.stdout.write(shown(text) if sys.stdout.isatty() else text)


def show_error(error: FleetmarkError) -> None:
    """Print one panel: what happened, and each wrong field on a line of its own."""
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
    """Print a remark beside the results; a script that reads standard output never sees it."""
    err.print(text)
