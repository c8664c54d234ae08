"""Tests the table for spreadsheets that read numbers by locale, with the rules of a German one.

`make test-spreadsheet` opens the same file with LibreOffice in a German locale.
"""

from __future__ import annotations

import csv
import io
import re

import pytest

from orchestrator.reports.columns import COLUMNS, COUNT_COLUMNS, TEXT_COLUMNS, Row
from orchestrator.reports.excel import stream_excel
from orchestrator.reports.formats import table_format
from orchestrator.reports.rows import csv_row
from orchestrator.reports.tables import stream_csv
from shared.jobs import JobStatus
from tests.unit.orchestrator.reports.bundles import ended_job, result_of

# A German spreadsheet reads these texts as numbers: points separate groups of three digits, and the comma is the decimal separator.
GERMAN = re.compile(r"[+-]?(?:\d{1,3}(?:\.\d{3})+|\d+)(?:,\d+)?")


def german(cell: str) -> float | str | None:
    """Return what a cell holds for a German spreadsheet."""
    if GERMAN.fullmatch(cell):
        return float(cell.replace(".", "").replace(",", "."))
    return cell or None


def opened(rows: list[Row]) -> list[dict[str, float | str | None]]:
    """Return the rows of the file as a double click shows them.

    The mark at its start names the encoding, and semicolons separate the cells.
    """
    content = b"".join(stream_excel(rows))
    assert content.startswith(b"\xef\xbb\xbf")
    lines = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter=";")
    header = next(lines)
    assert header == list(COLUMNS)
    return [{name: german(cell) for name, cell in zip(header, line, strict=True)} for line in lines]


def test_every_number_means_in_a_german_spreadsheet_what_was_measured() -> None:
    row = csv_row(ended_job(), result_of()) | {"PeakLoadRamUsage": 43.957, "TotalTimeS": 0.168, "CostPer1000": 5e-09, "LoadMsStdDev": 1e-07}
    (read,) = opened([row])
    for name in COLUMNS:
        if name not in TEXT_COLUMNS:
            assert read[name] == row[name], name
    assert (read["PeakLoadRamUsage"], read["TotalTimeS"]) == (43.957, 0.168)
    assert {name for name in COLUMNS if isinstance(row[name], float)}, "the row has decimals to mistake"
    assert all(float(str(read[name])).is_integer() for name in COUNT_COLUMNS if read[name] is not None)


def test_the_plain_file_is_the_one_that_a_german_spreadsheet_misreads() -> None:
    """This proves that the rule of this test file misreads a decimal point."""
    plain = next(csv.DictReader(io.StringIO(b"".join(stream_csv([{"PeakLoadRamUsage": 43.957}])).decode(), newline="")))
    assert german(plain["PeakLoadRamUsage"]) == 43957


def test_text_comes_as_it_was_and_none_of_it_is_run() -> None:
    evil = csv_row(ended_job(status=JobStatus.FAILED, model_name="=cmd|' /C calc'!A0", error='zwei; Zellen "ü"\nund -1,5'))
    (read,) = opened([evil | {"Parameters": "batch_size=8; threads=2"}])
    assert read["FileName"] == "'=cmd|' /C calc'!A0"
    assert read["Error"] == 'zwei; Zellen "ü"\nund -1,5'
    assert read["Parameters"] == "batch_size=8; threads=2"


def test_the_header_comes_without_rows_too() -> None:
    assert opened([]) == []


def test_it_is_a_format_of_its_own_and_csv_stays_as_it_is() -> None:
    row = csv_row(ended_job(), result_of())
    assert b"".join(table_format("excel").stream([row])) == b"".join(stream_excel([row]))
    assert b"".join(table_format("csv").stream([row])).startswith(b"Status,JobId")


@pytest.mark.parametrize(("value", "text"), [(1e-09, "0,000000001"), (-2.5, "-2,5"), (123456789.125, "123456789,125"), (7.0, "7,0")])
def test_decimals_are_written_out(value: float, text: str) -> None:
    content = b"".join(stream_excel([{"InferenceMsMedian": value}])).decode("utf-8-sig").splitlines()[1]
    assert content.split(";")[COLUMNS.index("InferenceMsMedian")] == text
