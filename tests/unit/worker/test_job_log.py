"""Tests the log of an attempt, in memory and in its journal."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shared.clock import FakeClock
from tests.unit.worker.results import CAMPAIGN, WORKER
from worker.job_log import DIED, HANDED_BACK, LIMIT_BYTES, JobLog, Journals

KEY = (f"{CAMPAIGN}-job-1", 2)
CLOCK = FakeClock(datetime(2026, 1, 1, tzinfo=UTC))


def lines(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.splitlines()]


def test_a_line_says_when_what_and_whose_it_is() -> None:
    job_log = JobLog(KEY, CLOCK, WORKER)
    job_log.add("warning", "system", "hot, \udcff and\nmore")  # Python represents an undecodable byte of a name in this way
    assert lines(job_log.to_jsonl()) == [
        {
            "time": "2026-01-01T00:00:00.000+00:00",
            "level": "warning",
            "source": "system",
            "campaign": CAMPAIGN,
            "job": f"{CAMPAIGN}-job-1",
            "attempt": 2,
            "worker": WORKER,
            "message": "hot, ? and\nmore",
        }
    ]


def test_the_journal_has_every_line_at_once_and_no_more_than_the_log(tmp_path: Path) -> None:
    journals = Journals(tmp_path, CLOCK, WORKER)
    path = journals.begin(KEY)
    job_log = JobLog(KEY, CLOCK, WORKER, path)
    for _ in range(100):
        job_log.add("info", "application", "x" * (LIMIT_BYTES // 50))
    *kept, last = job_log.to_jsonl().splitlines(keepends=True)
    assert path.read_bytes() == b"".join(kept)
    assert LIMIT_BYTES * 0.9 < path.stat().st_size <= LIMIT_BYTES
    assert json.loads(last)["message"].endswith("more lines were left out")


def test_a_journal_that_cannot_be_written_costs_nothing_else(tmp_path: Path) -> None:
    job_log = JobLog(KEY, CLOCK, WORKER, tmp_path / "missing" / "journal")
    job_log.add("info", "system", "one")
    job_log.add("info", "system", "two")
    assert [line["message"] for line in lines(job_log.to_jsonl())] == ["one", "two"]


def test_what_a_killed_process_left_is_found_and_says_how_it_ended(tmp_path: Path) -> None:
    before = Journals(tmp_path, CLOCK, WORKER)
    JobLog(KEY, CLOCK, WORKER, before.begin(KEY)).add("info", "system", "measuring")
    assert before.left() == {}, "it is under way"
    for _ in range(2):  # the second time stands for a process that was killed before it could send it; this changes nothing
        after = Journals(tmp_path, CLOCK, "worker-after")
        assert [line["message"] for line in lines(after.left()[KEY])] == ["measuring", DIED]
    after.done(KEY)
    assert after.left() == {}
    assert list(tmp_path.iterdir()) == []


def test_a_line_that_was_cut_short_is_left_out_and_one_that_was_handed_back_is_complete(tmp_path: Path) -> None:
    cut, back, lost_power = KEY, (KEY[0], 3), (KEY[0], 4)
    journals = Journals(tmp_path, CLOCK, WORKER)
    journals.begin(cut).write_bytes(b'{"attempt": 2, "mess')
    journals.begin(lost_power).write_bytes(bytes(100))
    JobLog(back, CLOCK, WORKER, journals.begin(back)).add("warning", "infrastructure", HANDED_BACK)
    left = Journals(tmp_path, CLOCK, WORKER).left()
    assert [line["message"] for line in lines(left[cut])] == [DIED]
    assert [line["message"] for line in lines(left[back])] == [HANDED_BACK]
    assert [line["message"] for line in lines(left[lost_power])] == [DIED]


def test_other_files_of_the_folder_are_no_journals(tmp_path: Path) -> None:
    (tmp_path / "notes.journal").write_text("mine")
    (tmp_path / f"{KEY[0]}.0.journal").write_text("no attempt")
    (tmp_path / f"{KEY[0]}.2.json").write_text("{}")
    assert Journals(tmp_path, CLOCK, WORKER).left() == {}
    assert len(list(tmp_path.iterdir())) == 3
