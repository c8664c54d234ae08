"""Tests what is told about a load while it runs."""

from __future__ import annotations

from pathlib import Path

from shared.request_records import ERROR, SUCCESS
from worker.load.news import News
from worker.load.spool import Spool


def test_news_are_about_what_ended_since_the_last_look(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "a")
    news = News([tmp_path / "a"])
    assert news.look() == "no request has ended since the last look, 0 in flight"
    for number in range(10):
        spool.add(1, 1, 2, 1 + (number + 1) * 1_000_000, 0, 0, 0, SUCCESS if number < 9 else ERROR)
    spool.flush()
    spool.tell(3, 0)
    assert news.look().endswith(" requests/s, median 5 ms, 1 of the newest 10 failed, 3 in flight")
    spool.add(1, 1, 2, 7_000_001, 0, 0, 0, SUCCESS)
    spool.flush()
    spool.tell(2, 1_230_000_000)
    assert news.look().endswith(" requests/s, median 7 ms, none failed, 2 in flight, the schedule is 1.2 s ahead of what was sent")
    spool.close()


def test_the_rate_is_over_the_time_in_which_the_new_requests_ended(tmp_path: Path) -> None:
    """A process writes its records now and then, so the time between two looks says little."""
    spool = Spool(tmp_path / "a")
    news = News([tmp_path / "a"])
    for number in range(1, 4_001):
        spool.add(number * 1_000_000, number * 1_000_000, 0, number * 1_000_000 + 500_000, 0, 0, 0, SUCCESS)
        if number in (1_000, 4_000):
            spool.flush()
            said = news.look()
    assert said == "1000 requests/s, median 0.5 ms, p99 0.5 ms, none failed, 0 in flight"
    spool.close()
