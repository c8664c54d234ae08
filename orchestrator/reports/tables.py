"""Rows as files, streamed in chunks: what is in memory does not grow with their number.

CSV is written by the standard library: pandas' `to_csv` in chunks of 2 000 rows took 3.6 to 5.9 s for 100 000 rows of 50
columns where the csv module took 2.7 to 3.8 s, and pandas reads what it writes. Even so, turning numbers into text costs more
than everything else, so a row's line is made once, when it is recorded (`csv_line`), and streamed as it is.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from typing import TypeVar

from orchestrator.reports.rows import COLUMNS, TEXT_COLUMNS, Cell, Row

T = TypeVar("T")

CHUNK_ROWS = 500  # about 200 kB of CSV: large enough for the network, small enough for the memory
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
# https://owasp.org/www-community/attacks/CSV_Injection, and with what an importer may trim before the sign
_FORMULA = re.compile(r"[\t\r\n]|\s*[=+@-]")
HEADER = (",".join(COLUMNS) + "\r\n").encode()
_TEXT_PLACES = tuple(index for index, name in enumerate(COLUMNS) if name in TEXT_COLUMNS)


def neutral(text: str) -> str:
    """Text that a spreadsheet shows and does not run: a formula gets a `'` before it; numbers stay."""
    if _FORMULA.match(text) and not _NUMBER.fullmatch(text.strip()):
        return "'" + text
    return text


def csv_line(row: Row) -> str:
    """Return one row as it stands in the CSV, its line end included.

    It is made once, when a result is recorded, and kept beside it: to stream a stored line costs a twentieth of making it again.
    A version with more columns writes an older line with `padded`.
    """
    buffer = io.StringIO()
    csv.writer(buffer).writerow(cells(row))
    return buffer.getvalue()


def stream_csv(rows: Iterable[Row]) -> Iterator[bytes]:
    """UTF-8 without a byte order mark, lines ended by CR LF (RFC 4180); the header comes even without rows."""
    yield HEADER
    for chunk in chunks(rows):
        buffer = io.StringIO()
        csv.writer(buffer).writerows(map(cells, chunk))
        yield buffer.getvalue().encode("utf-8", errors="replace")


def stream_csv_lines(lines: Iterable[str]) -> Iterator[bytes]:
    """Yield the same from lines of `csv_line`, also of those that an earlier version with fewer columns kept."""
    yield HEADER
    for chunk in chunks(lines):
        yield "".join(map(padded, chunk)).encode("utf-8", errors="replace")


def padded(line: str) -> str:
    """Return a kept line with an empty cell for each column that is newer than it."""
    # Commas inside of quotes separate nothing, so only a line without quotes can be counted without reading it.
    has = len(next(csv.reader(io.StringIO(line, newline="")))) if '"' in line else line.count(",") + 1
    lacking = len(COLUMNS) - has
    return line if lacking <= 0 else line.removesuffix("\r\n") + "," * lacking + "\r\n"


def cells(row: Row) -> list[Cell]:
    """Return a row's cells in the order of the columns, with no text that a spreadsheet would run."""
    found = [row.get(name) for name in COLUMNS]
    for place in _TEXT_PLACES:
        cell = found[place]
        if cell is not None:
            found[place] = neutral(str(cell))
    return found


def stream_jsonl(rows: Iterable[Row]) -> Iterator[bytes]:
    """One JSON object a line."""
    for chunk in chunks(rows):
        yield "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in chunk).encode("utf-8", errors="replace")


def stream_json(rows: Iterable[Row]) -> Iterator[bytes]:
    """One JSON array of objects."""
    yield b"["
    separator = "\n"
    for chunk in chunks(rows):
        yield (separator + ",\n".join(json.dumps(row, ensure_ascii=False) for row in chunk)).encode("utf-8", errors="replace")
        separator = ",\n"
    yield b"\n]\n"


def chunks(items: Iterable[T], size: int = CHUNK_ROWS) -> Iterator[list[T]]:
    """Lists of `size` items, the last one shorter."""
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk
