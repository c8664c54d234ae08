"""Lists the formats in which rows can be downloaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from orchestrator.reports.columns import Row
from orchestrator.reports.excel import stream_excel
from orchestrator.reports.parquet import stream_parquet
from orchestrator.reports.tables import stream_csv, stream_json, stream_jsonl
from shared.errors import InvalidInput, nearest


@dataclass(frozen=True)
class TableFormat:
    """Describes a format: its media type, the suffix of the file, and the function that writes rows."""

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
        InvalidInput: there is no such format. The message names the nearest one.
    """
    if name not in FORMATS:
        raise InvalidInput(f"unknown format {name!r}: {nearest(name, list(FORMATS))}")
    return FORMATS[name]
