"""Writes CSV as Excel expects it under most European locales.

Under these locales, plain CSV is misread: `43.957` becomes 43 957, because the point groups thousands, and commas do not separate cells.
So this CSV begins with a byte order mark (otherwise Excel assumes an older encoding), and uses semicolons between cells and decimal commas.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from decimal import Decimal

from orchestrator.reports.columns import COLUMNS, Cell, Row
from orchestrator.reports.tables import cells, chunks

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def stream_excel(rows: Iterable[Row]) -> Iterator[bytes]:
    """Yield the rows as UTF-8 with a byte order mark, semicolons between cells and decimal commas; lines end with CR LF."""
    yield BYTE_ORDER_MARK + (";".join(COLUMNS) + "\r\n").encode()
    for chunk in chunks(rows):
        buffer = io.StringIO()
        csv.writer(buffer, delimiter=";").writerows([_local(cell) for cell in cells(row)] for row in chunk)
        yield buffer.getvalue().encode("utf-8", errors="replace")


def _local(cell: Cell) -> Cell:
    """Return a cell with a decimal comma. Numbers are written without an exponent, because some imports cannot read one."""
    return format(Decimal(repr(cell)), "f").replace(".", ",") if isinstance(cell, float) else cell
