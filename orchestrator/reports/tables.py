"""Streams rows as CSV and JSON in chunks, so that memory does not grow with the number of rows.

The standard library writes the CSV. For 100 000 rows of 50 columns, its csv module took 2.7 to 3.8 s, and pandas' `to_csv` in chunks of
2 000 rows took 3.6 to 5.9 s; pandas reads both. Converting numbers to text is still the largest cost. So the line of a row is made once,
when its result is recorded (`csv_line`), and streamed unchanged.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from typing import TypeVar

from orchestrator.reports.columns import COLUMNS, TEXT_COLUMNS, Cell, Row

T = TypeVar("T")

CHUNK_ROWS = 500  # about 200 kB of CSV
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
# See https://owasp.org/www-community/attacks/CSV_Injection. It also matches white space that an importer may trim before the sign.
_FORMULA = re.compile(r"[\t\r\n]|\s*[=+@-]")
HEADER = (",".join(COLUMNS) + "\r\n").encode()
_TEXT_PLACES = tuple(index for index, name in enumerate(COLUMNS) if name in TEXT_COLUMNS)


def neutral(text: str) -> str:
    """Return text that a spreadsheet does not run: a formula gets a `'` in front. Numbers do not change."""
    if _FORMULA.match(text) and not _NUMBER.fullmatch(text.strip()):
        return "'" + text
    return text


def csv_line(row: Row) -> str:
    """Return one row as a line of CSV, including the line end.

    The line is made once, when a result is recorded, and stored with it. Streaming a stored line costs a twentieth of making it again.
    A later version with more columns extends older lines with `padded`.
    """
    buffer = io.StringIO()
    csv.writer(buffer).writerow(cells(row))
    return buffer.getvalue()


def stream_csv(rows: Iterable[Row]) -> Iterator[bytes]:
    """Yield the rows as CSV: UTF-8 without a byte order mark, lines ended by CR LF (RFC 4180), and always with the header."""
    yield HEADER
    for chunk in chunks(rows):
        buffer = io.StringIO()
        csv.writer(buffer).writerows(map(cells, chunk))
        yield buffer.getvalue().encode("utf-8", errors="replace")


def stream_csv_lines(lines: Iterable[str]) -> Iterator[bytes]:
    """Yield the same CSV from lines of `csv_line`. Lines of earlier versions with fewer columns are extended."""
    yield HEADER
    for chunk in chunks(lines):
        yield "".join(map(padded, chunk)).encode("utf-8", errors="replace")


def padded(line: str) -> str:
    """Return a stored line with an empty cell added for each newer column."""
    # Commas inside quotes do not separate cells, so commas can be counted only in a line without quotes.
    has = len(next(csv.reader(io.StringIO(line, newline="")))) if '"' in line else line.count(",") + 1
    lacking = len(COLUMNS) - has
    return line if lacking <= 0 else line.removesuffix("\r\n") + "," * lacking + "\r\n"


def cells(row: Row) -> list[Cell]:
    """Return a row's cells in the order of the columns. Texts that a spreadsheet would run are made harmless."""
    found = [row.get(name) for name in COLUMNS]
    for place in _TEXT_PLACES:
        cell = found[place]
        if cell is not None:
            found[place] = neutral(str(cell))
    return found


def stream_jsonl(rows: Iterable[Row]) -> Iterator[bytes]:
    """Yield one JSON object per line."""
    for chunk in chunks(rows):
        yield "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in chunk).encode("utf-8", errors="replace")


def stream_json(rows: Iterable[Row]) -> Iterator[bytes]:
    """Yield the rows as one JSON array of objects."""
    yield b"["
    separator = "\n"
    for chunk in chunks(rows):
        yield (separator + ",\n".join(json.dumps(row, ensure_ascii=False) for row in chunk)).encode("utf-8", errors="replace")
        separator = ",\n"
    yield b"\n]\n"


def chunks(items: Iterable[T], size: int = CHUNK_ROWS) -> Iterator[list[T]]:
    """Yield lists of `size` items. The last one may be shorter."""
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk
