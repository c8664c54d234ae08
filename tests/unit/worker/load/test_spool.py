"""Tests the records of requests: what is written comes back, and how much room it takes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from shared.request_records import FORMAT, NAME, RECORD, Header, Part, join, read_header, read_parts, record_type
from worker.load.spool import RECORDS, Spool

MANY = 2 * RECORDS + 17


def test_every_stamp_comes_back_and_durations_below_16_ms_to_the_nanosecond(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "a")
    spool.begin(1_000_000)
    for number in range(MANY):
        begin = 1_000_000 + number * 1_001
        spool.add(begin, begin + 7, begin + 12_345_678, begin + 16_000_001, 300 + number, 200, number % 2, number % 9)
    spool.close()
    records = np.fromfile(tmp_path / "a", record_type())
    assert len(records) == MANY == spool.count
    assert records["scheduled"].tolist() == [number * 1_001 for number in range(MANY)]
    assert set(records["delay"]) == {7}
    assert set(records["first"]) == {12_345_671}
    assert set(records["last"]) == {15_999_994}
    assert records["bytes"][5] == 305
    assert records["failure"].tolist() == [number % 9 for number in range(MANY)]


def test_what_never_happened_is_no_number_and_too_many_bytes_are_the_largest_number(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "a")
    spool.add(5, 6, 0, 0, 2**40, 0, 0, 8)
    spool.close()
    (record,) = np.fromfile(tmp_path / "a", record_type())
    assert np.isnan(record["first"])
    assert np.isnan(record["last"])
    assert record["bytes"] == 2**32 - 1


def test_ten_million_requests_take_less_than_300_mb() -> None:
    assert RECORD.size == record_type().itemsize == 28
    assert RECORD.size * 10**7 < 300e6


@pytest.mark.parametrize("before", [3, RECORDS - 1, RECORDS + 5])
def test_a_window_that_begins_later_makes_everything_before_it_negative(before: int, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "a")
    spool.begin(100)
    for number in range(before):
        spool.add(90 + number, 90 + number, 0, 91 + number, 0, 0, 0, 0)
    spool.begin_later(100 + before)
    spool.add(100 + before, 100 + before, 0, 101 + before, 0, 0, 0, 0)
    spool.close()
    due = np.fromfile(tmp_path / "a", record_type())["scheduled"]
    assert due.tolist() == [*(number - 10 - before for number in range(before)), 0]


def test_the_artifact_is_read_back_in_blocks(tmp_path: Path) -> None:
    parts = (Part(0, "all", 0, 3, 1.8e9, (0, 10)), Part(0, "all", 1, 0, 1.8e9, (0, 10)), Part(1, "all", 0, 5, 1.9e9, (0, 10)))
    records = np.zeros(8, record_type())
    records["scheduled"] = range(8)
    (tmp_path / NAME).write_bytes(join(Header("redis", ("get", "set"), parts), [records.tobytes()]))
    found = [(part.repeat, block["scheduled"].tolist()) for _, part, block in read_parts(tmp_path / NAME, most_at_once=2)]
    assert found == [(0, [0, 1]), (0, [2]), (1, [3, 4]), (1, [5, 6]), (1, [7])]


@pytest.mark.parametrize("line", [b"", b"{}\n", b'{"format": 99}\n', b'{"format": 1}\n', b"[1]\n"])
def test_another_file_is_refused_and_the_format_named(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"requests\.bin"):
        read_header(io.BytesIO(line))
    assert FORMAT == 1


def test_a_file_that_was_cut_is_refused(tmp_path: Path) -> None:
    parts = (Part(0, "all", 0, 3, 1.8e9, (0, 10)),)
    (tmp_path / NAME).write_bytes(join(Header("redis", ("get",), parts), [b"\0" * 50]))
    with pytest.raises(ValueError, match="ends in the middle of repeat 0, client 0"):
        list(read_parts(tmp_path / NAME))
