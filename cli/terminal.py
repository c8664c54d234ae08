"""How the command line speaks: results on standard output, everything said about them on standard error."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from shared.errors import FleetmarkError
from shared.masking import masked

PIPED_WIDTH = 200  # a pipe has no width; rich would cut tables at 80

# Names of models and campaigns are data: a bracket in them is a bracket.
out = Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)
err = Console(stderr=True, markup=False, highlight=False, width=None if sys.stderr.isatty() else PIPED_WIDTH)


def show_json(data: Any) -> None:
    """Data for a script: JSON on standard output, nothing else."""
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False) + "\n")


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
