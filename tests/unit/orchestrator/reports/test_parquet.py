"""Tests that pandas reads back the Parquet file."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pandas as pd

from orchestrator.reports.columns import COLUMNS, COUNT_COLUMNS, TEXT_COLUMNS, Row
from orchestrator.reports.parquet import GROUP_ROWS, stream_parquet
from orchestrator.reports.rows import csv_row
from shared.jobs import JobStatus
from tests.unit.orchestrator.reports.bundles import ended_job, result_of


def read(rows: list[Row]) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(b"".join(stream_parquet(rows))))


def test_values_come_back_as_they_were_with_numbers_as_numbers() -> None:
    complete = csv_row(ended_job(), result_of())
    failed = csv_row(ended_job(status=JobStatus.FAILED, error="=two\nlines, ünïcode \ud800"))
    frame = read([complete, failed])
    assert list(frame.columns) == list(COLUMNS)
    for name in COLUMNS:
        value = frame[name].iloc[0]
        assert (None if pd.isna(value) else value) == complete[name], name
    assert frame["Error"].iloc[1] == "=two\nlines, ünïcode ?"
    assert pd.isna(frame["InferenceMsMedian"].iloc[1])
    assert {str(frame[name].dtype) for name in COLUMNS if name not in TEXT_COLUMNS | COUNT_COLUMNS} == {"float64"}


def test_without_rows_there_are_the_columns() -> None:
    assert list(read([]).columns) == list(COLUMNS)


def test_a_long_table_leaves_in_row_groups() -> None:
    row = csv_row(ended_job(), result_of())
    asked = 0

    def rows() -> Iterator[Row]:
        nonlocal asked
        for number in range(2 * GROUP_ROWS):
            asked += 1
            yield {**row, "Attempt": number}

    pieces = stream_parquet(rows())
    first = next(pieces)
    assert (first[:4], asked) == (b"PAR1", GROUP_ROWS)
    frame = pd.read_parquet(io.BytesIO(first + b"".join(pieces)))
    assert list(frame["Attempt"]) == list(range(2 * GROUP_ROWS))
