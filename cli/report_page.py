"""Shows the Markdown of a report in a terminal. A table that does not fit becomes a few lines for each row."""

from __future__ import annotations

from typing import ClassVar

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import Markdown, MarkdownElement, TableElement
from rich.table import Table

from cli.fitting import Fitting


class _FittingTable(TableElement):
    """Shows a table of Markdown so that no figure in it is cut, however narrow the terminal is."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for made in super().__rich_console__(console, options):
            yield Fitting(made) if isinstance(made, Table) else made


class ReportPage(Markdown):
    """Is a Markdown page whose tables fit into the terminal."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {**Markdown.elements, "table_open": _FittingTable}
