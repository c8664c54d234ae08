"""The formats in which rows leave: one dict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from orchestrator.reports.excel import stream_excel
from orchestrator.reports.parquet import stream_parquet
from orchestrator.reports.rows import Row
from orchestrator.reports.tables import stream_csv, stream_json, stream_jsonl
from shared.errors import InvalidInput, nearest


@dataclass(frozen=True)
class TableFormat:
    """How results leave: the media type, the file's ending, and the function that writes them."""

    media_type: str
    suffix: str
    stream: Callable[[Iterable[Row]], Iterator[bytes]]


FORMATS: dict[str, TableFormat] = {
    "csv": TableFormat("text/csv; charset=utf-8", "csv", stream_csv),
    "excel": TableFormat("text/csv; charset=utf-8", "csv", stream_excel),
    "json": TableFormat("application/json", "json", stream_json),
    "jsonl": TableFormat("application/x-ndjson", "jsonl", stream_jsonl),
    "parquet": TableFormat("application/vnd.apache.parquet", "parquet", stream_parquet),
}


def table_format(name: str) -> TableFormat:
    """Return a format by its name.

    Raises:
        InvalidInput: there is no such format; the message names the nearest.
    """
    if name not in FORMATS:
        raise InvalidInput(f"unknown format {name!r}: {nearest(name, list(FORMATS))}")
    return FORMATS[name]
