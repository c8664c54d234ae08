"""Tests the schedules: their rates, their spread, their shares, and that a seed decides everything."""

from __future__ import annotations

from itertools import islice, takewhile
from typing import Any

import numpy as np
import pytest

from worker.load.arrivals import Shape, due_times, expected, seed_text, share, share_of_count

NS = 1_000_000_000


def first(shape: Shape, count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(list(islice(due_times(shape), count)), dtype=np.int64)


def test_a_constant_rate_has_equal_gaps_that_do_not_add_up_rounding_errors() -> None:
    times = first(Shape("constant", rate=3.0), 3_000_001)
    assert times[3_000_000] == 1_000_000 * NS
    assert set(np.diff(times)) == {333_333_333, 333_333_334}


@pytest.mark.parametrize("pattern", ["poisson", "server"])
def test_poisson_arrivals_have_exponential_gaps(pattern: str) -> None:
    gaps = np.diff(first(Shape(pattern, rate=1_000.0, seed="1"), 100_001)) / NS * 1_000
    assert gaps.mean() == pytest.approx(1, abs=0.015)
    assert gaps.std() == pytest.approx(1, abs=0.02)
    assert (gaps > 1).mean() == pytest.approx(np.exp(-1), abs=0.006)


@pytest.mark.parametrize("burstiness", [0.25, 4.0])
def test_gamma_arrivals_keep_the_rate_and_have_the_variation_of_their_burstiness(burstiness: float) -> None:
    gaps = np.diff(first(Shape("gamma", rate=100.0, burstiness=burstiness, seed="1"), 100_001)) / NS * 100
    assert gaps.mean() == pytest.approx(1, abs=0.03)
    assert gaps.std() / gaps.mean() == pytest.approx(burstiness**-0.5, rel=0.03)


def test_a_ramp_sends_as_many_requests_as_the_integral_of_its_rate_says_and_then_keeps_the_rate() -> None:
    times = first(Shape("ramp", rate_from=10.0, rate=110.0, ramp_s=10.0), 1_000) / NS
    for second in (1, 2, 5, 10):
        assert (times < second).sum() == pytest.approx(10 * second + 5 * second**2, abs=1)
    assert np.diff(times[times > 10.1]) == pytest.approx(1 / 110, rel=1e-4)


def test_a_trace_is_sent_in_the_order_of_its_times_and_ends() -> None:
    assert list(due_times(Shape("trace", trace_s=(0.5, 0.0, 0.25)))) == [0, NS // 4, NS // 2]


def test_the_shares_of_all_processes_are_together_the_whole_schedule() -> None:
    shape = Shape("poisson", rate=500.0, seed="a")
    whole = list(takewhile(lambda time: time < NS, due_times(shape)))
    shares = [list(takewhile(lambda time: time < NS, share(due_times(shape), client, 3))) for client in range(3)]
    assert sorted(time for one in shares for time in one) == whole
    assert [share_of_count(10, client, 3) for client in range(3)] == [4, 3, 3]


def test_the_same_seed_gives_the_same_times_and_another_repeat_point_or_process_others() -> None:
    seeds = {seed_text(1, "a", 0), seed_text(1, "a", 1), seed_text(1, "b", 0), seed_text(2, "a", 0), seed_text(1, "a", 0, 0)}
    assert len(seeds) == 5
    assert len({first(Shape("poisson", rate=1.0, seed=seed), 9).tobytes() for seed in seeds}) == 5
    again = first(Shape("poisson", rate=1.0, seed="x"), 9)
    assert (again == first(Shape("poisson", rate=1.0, seed="x"), 9)).all()


@pytest.mark.parametrize("shape", [Shape("closed"), Shape("constant"), Shape("poisson", rate=-1.0)])
def test_a_pattern_without_schedule_or_rate_is_refused(shape: Shape) -> None:
    with pytest.raises(ValueError, match=r"has no schedule|needs a rate"):
        due_times(shape)


@pytest.mark.parametrize(
    ("load", "count"),
    [
        ({"pattern": "constant", "rate": 50.0}, 100),
        ({"pattern": "ramp", "rate": 100.0, "rate_from": 20.0}, 160),  # 60 while the rate rises for a second
        ({"pattern": "trace", "trace_s": (0.0, 1.0, 1.9, 2.0, 3.0)}, 3),
    ],
)
def test_what_a_schedule_asks_for_is_known_without_the_records_of_a_dead_process(load: dict[str, Any], count: int) -> None:
    asked = {"rate": None, "rate_from": None, "trace_s": None, **load}
    ramp_s = 1.0 if load["pattern"] == "ramp" else None
    assert expected(asked, 2.0, ramp_s) == count
    if load["pattern"] != "trace":
        shape = Shape(load["pattern"], rate=load["rate"], rate_from=load.get("rate_from", 0.0), ramp_s=ramp_s or 0.0)
        assert sum(1 for _ in takewhile(lambda due: due < 2e9, due_times(shape))) == pytest.approx(expected(asked, 2.0, ramp_s), abs=1)
