"""Tests what is told about a load while it runs."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter_ns

import pytest

from shared.request_records import ERROR, SUCCESS
from worker.load.news import News
from worker.load.spool import Spool
from worker.measured.request import share_done, with_news


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


def test_the_share_of_a_number_of_requests_counts_those_of_the_window_in_all_processes(tmp_path: Path) -> None:
    spools = [Spool(tmp_path / name) for name in "ab"]
    news = News([tmp_path / "a", tmp_path / "b"], count=8)
    for due in (-2, -1, 1):  # the first two belong to the warm-up
        spools[0].add(due, due, 2, 3, 0, 0, 0, SUCCESS)
    spools[0].flush()
    assert news.share() == 0
    news.look()
    assert news.share() == 1 / 8
    for spool in spools:
        spool.add(4, 4, 5, 6, 0, 0, 0, ERROR)
        spool.close()
    news.look()
    assert news.share() == 3 / 8


def test_the_share_of_a_duration_grows_with_time_and_is_0_before_the_window(tmp_path: Path) -> None:
    now = perf_counter_ns()
    for begin_ns, expected in ((now + 10**12, 0.0), (now - 5 * 10**11, 0.5), (now - 10**13, 1.0)):
        news = News([tmp_path / "a"], begin_ns, duration_s=1_000)
        news.look()
        assert news.share() == pytest.approx(expected, abs=0.05)


def test_what_is_announced_says_its_share() -> None:
    said = with_news("measuring", 0.418, "31200 requests/s, median 1 ms")
    assert said == "measuring (41 % done, 31200 requests/s, median 1 ms)"
    assert share_done(said) == 0.41
    assert share_done("measuring") == 0
