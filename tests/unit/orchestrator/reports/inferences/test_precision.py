from __future__ import annotations

from orchestrator.reports.inferences.precision import precision_said
from shared.distributions import Distribution, Interval
from shared.measurements import Summary
from shared.repetition import StopRule
from tests.unit.orchestrator.reports.bundles import result_of

ASKED = StopRule(precision=0.02, max_repeats=20)


def summary(low: float | None, high: float | None, because: str) -> Summary:
    """Return a summary whose median is exactly 10 ms."""
    made = result_of().summary
    assert made is not None
    interval = Interval(low=low, high=high, level=0.95, method="typed by hand", n=20) if low is not None and high is not None else None
    inference: Distribution = made.inference.model_copy(update={"median": 10.0, "median_ci": interval})
    return made.model_copy(update={"inference": inference, "stopped_because": because})


def test_a_precision_that_was_not_reached_says_how_near_it_came() -> None:
    said = precision_said(summary(9.5, 10.3, "repeats spent: 20 of 20"), ASKED)  # half of 0.8 ms is 4 % of 10 ms
    assert (
        said
        == "precision not reached: the 95 % interval is ±4.00 % of the median; ±2.00% was asked for (repeats spent: 20 of 20)".replace(
            "4.00 %", "4.00%"
        )
    )


def test_a_precision_that_was_reached_is_said_in_the_worker_s_words() -> None:
    because = "precision reached: ±1.50% after 7 repeats"
    assert precision_said(summary(9.85, 10.15, because), ASKED) == because


def test_without_an_interval_nothing_is_made_up() -> None:
    assert "no interval can be given" in precision_said(summary(None, None, "repeats spent: 2 of 2"), ASKED)


def test_a_job_without_a_stop_rule_says_nothing() -> None:
    assert precision_said(summary(9.5, 10.3, ""), None) == ""


def test_a_worker_that_says_how_near_it_came_is_quoted() -> None:
    because = "budget spent: 600 s of 600 s after 9 repeats; the median is known to ±4%, ±2% was asked, which takes about 30 repeats"
    told = summary(9.5, 10.3, because).model_copy(update={"precision_asked": 0.02, "precision_reached": 0.04})
    assert precision_said(told, ASKED) == f"precision not reached: {because}"
