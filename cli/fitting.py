"""Shows a table in a terminal of any width. Where the table does not fit, each row becomes a few lines."""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

NOTHING = frozenset({"", "—"})
INDENT = 2


class Fitting:
    """Shows a table, or one block of lines for each row if the table is wider than the terminal.

    In a table that is too wide, Rich would cut ids and figures short and drop whole columns.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        widths = [_least_width(column) for column in self._table.columns]
        if sum(widths) + _frame(self._table) > options.max_width:
            yield Group(*self._blocks())
            return
        for column in self._table.columns:
            column.overflow = "fold"  # nothing is cut
            column.no_wrap = _is_whole(column)
        yield self._table

    def _blocks(self) -> Iterator[RenderableType]:
        if self._table.title:
            yield Text(str(self._table.title))
        headings = [str(column.header) for column in self._table.columns]
        for cells in zip(*(_texts(column) for column in self._table.columns), strict=True):
            own = 2 if cells[0].plain.isdigit() and len(cells) > 1 else 1  # the number of a row stands before its name
            yield Text("  ").join(cells[:own])
            said = [_said(heading, cell) for heading, cell in zip(headings[own:], cells[own:], strict=True) if cell.plain not in NOTHING]
            yield Padding(Text(", ").join(said), (0, 0, 0, INDENT), expand=False)


def _said(heading: str, cell: Text) -> Text:
    """Return a cell with its heading. A state needs none: its cell has a colour, and stands for the whole row."""
    return cell if cell.style else Text(f"{heading} {cell.plain}")


def _texts(column: Column) -> list[Text]:
    return [cell if isinstance(cell, Text) else Text(str(cell)) for cell in column.cells]


def _is_whole(column: Column) -> bool:
    """Return whether the cells of a column stay in one line: figures do, and so do single words, such as ids, which people copy."""
    return column.no_wrap or not any(" " in text.plain for text in _texts(column))


def _least_width(column: Column) -> int:
    """Return the width that a column needs, so that no word in it is broken."""
    texts = [str(column.header), *(text.plain for text in _texts(column))]
    return max(cell_len(part) for text in texts for part in ([text] if _is_whole(column) else text.split() or [""]))


def _frame(table: Table) -> int:
    """Return the width of what a table has between and beside its cells."""
    count = len(table.columns)
    return 3 * count + 1 if table.box is not None else 2 * (count - 1)
