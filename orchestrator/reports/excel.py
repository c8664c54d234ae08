"""The same table for a spreadsheet that reads by locale: as Excel expects it under most European locales.

The plain CSV means another thing there: `43.957` is read as 43 957 where the point groups thousands, and a comma separates no
cells. So this one has a byte order mark in front (else the text is taken for an older encoding), semicolons between cells, and
decimal commas.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from decimal import Decimal

from orchestrator.reports.rows import COLUMNS, Cell, Row
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
    """Return a cell with a decimal comma. All digits are written out, as not every import reads an exponent."""
    return format(Decimal(repr(cell)), "f").replace(".", ",") if isinstance(cell, float) else cell
