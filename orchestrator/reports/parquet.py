"""Streams rows as Apache Parquet, with typed columns for pandas, DuckDB and Spark.

Only one row group is in memory at a time, so a file may be larger than memory. Text is not changed against formulas as in CSV, because
readers of Parquet do not run formulas.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from orchestrator.reports.columns import COLUMNS, COUNT_COLUMNS, TEXT_COLUMNS, Row
from orchestrator.reports.tables import chunks
from shared.storable import storable_text

if TYPE_CHECKING:
    import pyarrow as pa

GROUP_ROWS = 10_000  # about 4 MB of cells; a reader skips whole groups


class _Drain(io.RawIOBase):
    """Acts as a file that is read while it is written. It counts its position and keeps only the bytes that were not taken yet."""

    def __init__(self) -> None:
        self._position = 0
        self._pending = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]  # pyarrow passes bytes, or an object that bytes() accepts
        taken = bytes(data)
        self._position += len(taken)
        self._pending += taken
        return len(taken)

    def tell(self) -> int:
        return self._position

    def take(self) -> bytes:
        taken = bytes(self._pending)
        self._pending.clear()
        return taken


def stream_parquet(rows: Iterable[Row]) -> Iterator[bytes]:
    """Yield a Parquet file with the columns of the CSV. Without rows, it holds only the columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(pa)
    drain = _Drain()
    with pq.ParquetWriter(drain, schema, compression="zstd") as writer:
        for group in chunks(rows, GROUP_ROWS):
            writer.write_table(pa.Table.from_pylist([_encodable(row) for row in group], schema=schema))
            yield drain.take()
    yield drain.take()


def _encodable(row: Row) -> Row:
    """Return a row whose texts Arrow can encode. A lone surrogate becomes a question mark, as in the CSV."""
    return {name: storable_text(cell) if isinstance(cell, str) else cell for name, cell in row.items()}


def _schema(arrow: pa) -> pa.Schema:
    def kind(name: str) -> pa.DataType:
        return arrow.string() if name in TEXT_COLUMNS else arrow.int64() if name in COUNT_COLUMNS else arrow.float64()

    return arrow.schema([(name, kind(name)) for name in COLUMNS])
