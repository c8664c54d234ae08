"""Prints the output of the command line: results on standard output, messages on standard error."""

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

PIPED_WIDTH = 200  # a pipe has no width, and rich would use 80, which is too narrow for tables


class Screen(Console):
    """Is a console that makes control characters visible, so that text from outside cannot move the cursor or change colours."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(shown(segment.text), segment.style)


def _width(stream: TextIO | None) -> int | None:
    """Return the width for a console on this stream. None means the terminal's own width. `stream` is None if it was closed."""
    return None if stream is not None and stream.isatty() else PIPED_WIDTH


# Names of models and campaigns may contain brackets, which must not be read as markup.
out = Screen(markup=False, highlight=False, width=_width(sys.stdout))
err = Screen(stderr=True, markup=False, highlight=False, width=_width(sys.stderr))


def shown(text: str) -> str:
    """Return a text from outside in a form that is safe for a terminal. Control characters become visible; line breaks and tabs stay."""
    return visible(text, keep="\n\t")


def counted(number: int, noun: str) -> str:
    """Return a number with its noun in the right form: `1 job`, `2 jobs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def show_json(data: Any) -> None:
    """Print data as JSON on standard output, for scripts."""
    text = json.dumps(data, indent=2, ensure_ascii=not takes_unicode(sys.stdout)) + "\n"
    sys.stdout.write(shown(text) if sys.stdout.isatty() else text)


def show_error(error: FleetmarkError) -> None:
    """Print an error: its message, then each wrong field on its own line. On a terminal it has a frame."""
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
    """Print a message on standard error, so that scripts that read standard output do not see it."""
    err.print(text)
