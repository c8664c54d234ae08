"""Tests what is told about a load while it runs."""

from __future__ import annotations

from pathlib import Path

from shared.request_records import ERROR, SUCCESS
from worker.load.news import News
from worker.load.spool import Spool


def test_news_are_about_what_ended_since_the_last_look(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "a")
    news = News([tmp_path / "a"])
    assert news.look() == "no request has ended since the last look"
    for number in range(10):
        spool.add(1, 1, 2, 1 + (number + 1) * 1_000_000, 0, 0, 0, SUCCESS if number < 9 else ERROR)
    spool.flush()
    assert news.look().endswith(" requests/s, median 5 ms, 1 of the newest 10 failed")
    spool.add(1, 1, 2, 7_000_001, 0, 0, 0, SUCCESS)
    spool.flush()
    assert news.look().endswith(" requests/s, median 7 ms, none failed")
    spool.close()
