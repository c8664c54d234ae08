"""Tests how many repeats a job runs, and the reason that is reported."""

from __future__ import annotations

from array import array

import numpy as np
import pytest

from shared.inputs import ModelRef
from shared.repetition import StopRule
from shared.series import Record, Series
from shared.two_stage import PILOT, repeats_wanted
from shared.workloads import Workload, inference_workload
from worker.kinds.base import Repeat
from worker.kinds.inference import InferenceMeasure
from worker.supervisor.repeats import reason_to_stop

STEADY_MS = (10.0, 10.1, 9.9, 10.2, 9.8)  # the standard deviation of the logarithms is 1.58 %, so ±1 % needs 20 repeats


def workload(stop: StopRule | None = None, repeats: int = 5) -> Workload:
    return inference_workload(model=ModelRef(source="file:///m.onnx", name="m.onnx"), inferences=1, repeats=repeats, stop=stop)


def ran(medians_ms: list[float]) -> list[Repeat]:
    """Return repeats of one inference each."""
    return [Repeat(Record(series={"inference": Series("inference", values=array("q", [round(ms * 1e6)]))}), 0.0) for ms in medians_ms]


def run_to_the_end(rule: StopRule, medians_ms: list[float], seconds_each: float = 1.0) -> tuple[int, str]:
    """Return how many repeats the rule lets run, and its final decision."""
    for n in range(1, len(medians_ms) + 1):
        said = reason_to_stop(workload(rule), InferenceMeasure(), ran(medians_ms[:n]), n * seconds_each)
        if said is not None:
            return n, said
    raise AssertionError(f"the rule wanted more than {len(medians_ms)} repeats")


def test_without_a_rule_there_are_exactly_as_many_repeats_as_asked_and_no_reason() -> None:
    assert reason_to_stop(workload(repeats=3), InferenceMeasure(), ran([1.0, 2.0]), 1e9) is None
    assert reason_to_stop(workload(repeats=3), InferenceMeasure(), ran([1.0, 2.0, 3.0]), 0) == ""


def test_the_number_of_repeats_is_that_of_the_pilot_whatever_comes_later() -> None:
    random = np.random.default_rng(7)
    for _ in range(100):
        medians = (10 * (1 + 0.02 * random.standard_normal(300))).tolist()
        wanted = repeats_wanted(medians[:PILOT], 0.01)
        n, said = run_to_the_end(StopRule(precision=0.01, max_repeats=300), medians)
        assert n == wanted
        assert said.startswith("precision reached: ±")


def test_a_narrow_interval_before_the_end_of_the_pilot_stops_nothing() -> None:
    n, said = run_to_the_end(StopRule(precision=0.5, max_repeats=8), [10.0] * 8)
    assert (n, said) == (5, "precision reached: ±0% after 5 repeats, ±50% asked")


def test_repeats_that_are_spent_say_how_near_it_came() -> None:
    n, said = run_to_the_end(StopRule(precision=0.01, max_repeats=8), [*STEADY_MS, 10.0, 10.0, 10.0])
    # These values were calculated with numpy and scipy: expm1(t(0.975, 4) × std(log(STEADY_MS)) / √8) is 0.0156, over √7 it is 0.0167, and
    # 19.4 repeats give 0.01.
    assert n == 8
    assert said == "repeats spent: 8 of 8; the median is known to ±1.56%, ±1% was asked, which takes about 20 repeats"


def test_a_budget_that_is_spent_lets_three_repeats_run_and_says_how_near_it_came() -> None:
    rule = StopRule(precision=0.01, max_repeats=100, budget_s=0.5)
    n, said = run_to_the_end(rule, list(STEADY_MS))
    assert n == 3
    # This is Student's t over the logarithms of 10.0, 10.1 and 9.9, whose standard deviation is 0.0100004: exp(4.302653 × 0.0100004 / √3) -
    # 1.
    assert said == "budget spent: 3 s of 0.5 s after 3 repeats; the median is known to ±2.52%, ±1% was asked"
    n, said = run_to_the_end(StopRule(precision=0.01, max_repeats=100, budget_s=7), [*STEADY_MS, 10.0, 10.0])
    assert n == 7
    assert said.startswith("budget spent: 7 s of 7 s after 7 repeats; the median is known to ±1.67%, ±1% was asked")


@pytest.mark.parametrize(
    ("precision", "word"), [(0.03, "precision reached: ±2.52%"), (0.02, "repeats spent: 3 of 3; the median is known to ±2.52%")]
)
def test_fewer_repeats_than_a_pilot_are_all_run_and_then_judged(precision: float, word: str) -> None:
    n, said = run_to_the_end(StopRule(precision=precision, max_repeats=3), list(STEADY_MS))
    assert n == 3
    assert said.startswith(word)


def test_a_clock_that_saw_no_time_pass_says_that_it_knows_nothing() -> None:
    n, said = run_to_the_end(StopRule(precision=0.01, max_repeats=6), [0.0] * 6)
    assert (n, said) == (6, "repeats spent: 6 of 6; the median is known to no precision, ±1% was asked")
