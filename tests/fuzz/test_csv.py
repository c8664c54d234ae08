"""Tests that any text in a cell of the CSV is read back unchanged and never run as a formula."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.reports.columns import COLUMNS, TEXT_COLUMNS, Row
from orchestrator.reports.rows import csv_row
from orchestrator.reports.tables import csv_line, stream_csv, stream_csv_lines
from shared.jobs import JobStatus
from shared.protocol.messages import Device
from tests.fuzz.budget import tried
from tests.unit.orchestrator.reports.bundles import ended_job, result_of

# The store refuses NUL and lone surrogates, so no row contains one.
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=40) | st.builds(
    str.__add__,
    st.sampled_from(["=", "+", "-", "@", "\t", "\r", "\n", '"', "'", ",", ";", " =", "\ufeff=", "+1", "-1e5", "=cmd|' /C calc'!A0"]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20),
)
NUMBERS = st.none() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
ROWS: st.SearchStrategy[Row] = st.fixed_dictionaries({name: st.none() | WORDS if name in TEXT_COLUMNS else NUMBERS for name in COLUMNS})
# This is the rule of docs/why/untrusted-input.md: a cell is at risk if, after spaces, it begins with one of these signs and is not a
# number, or if it begins with a tab or an end of line.
SIGNS, BREAKS = ("=", "+", "-", "@"), ("\t", "\r", "\n")
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def is_run(text: str) -> bool:
    return (text.startswith(BREAKS) or text.strip().startswith(SIGNS)) and not NUMBER.fullmatch(text.strip())


def shown(cell: Any) -> str:
    text = "" if cell is None else str(cell)
    return f"'{text}" if isinstance(cell, str) and is_run(text) else text


def assert_opens(content: bytes, rows: list[Row]) -> None:
    expected = [[shown(row[name]) for name in COLUMNS] for row in rows]
    for line in expected:
        assert not [cell for cell in line if is_run(cell)]
    read = list(csv.reader(io.StringIO(content.decode("utf-8"), newline="")))
    assert read == [list(COLUMNS), *expected]
    frame = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False, na_filter=False)
    assert list(frame.columns) == list(COLUMNS)
    assert frame.to_numpy().tolist() == expected


@tried(100)
@given(st.lists(ROWS, min_size=1, max_size=3))
def test_any_rows_open_in_python_and_in_pandas_with_the_same_values(rows: list[Row]) -> None:
    content = b"".join(stream_csv(rows))
    assert content == b"".join(stream_csv_lines(map(csv_line, rows)))
    assert_opens(content, rows)


@tried(60)
@given(WORDS, WORDS, WORDS, WORDS, WORDS, st.sampled_from(list(JobStatus)[2:]))
def test_what_a_device_calls_itself_stays_in_its_cell(name: str, soc: str, system: str, model: str, error: str, status: JobStatus) -> None:
    result = result_of(repeats=1, inferences=2, device=Device(name=name, soc=soc, os=system, ram_gb=1e308), error=error, capability=name)
    row = csv_row(ended_job(status=status, model_name=model), result)
    assert_opens(b"".join(stream_csv([row])), [row])
