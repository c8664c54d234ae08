"""Tests the figures that follow from what a service counts itself, before and after each repeat."""

from __future__ import annotations

import pytest

from shared.figures import Outcome
from worker.load.counted import MISSING, OF_COUNTERS, with_counted

NONE = dict.fromkeys(
    ("inferences", "executions", "queue_ns", "compute_input_ns", "compute_infer_ns", "compute_output_ns", "success_count"), 0.0
)
EMPTY = Outcome(headline="requests_per_s")


def after(requests: int, queue_ms: float, compute_ms: float) -> dict[str, float]:
    return NONE | {
        "success_count": requests,
        "inferences": 4.0 * requests,
        "executions": 2.0 * requests,
        "queue_ns": requests * queue_ms * 1e6,
        "compute_input_ns": requests * compute_ms * 0.25e6,
        "compute_infer_ns": requests * compute_ms * 0.75e6,
    }


def test_the_growth_in_each_repeat_is_a_value_and_their_median_the_figure() -> None:
    repeats = [(NONE, after(10, 1.0, 4.0)), (after(10, 1.0, 4.0), after(30, 3.0, 5.0)), (NONE, after(5, 2.0, 6.0))]
    found = {figure.name: figure for figure in with_counted(EMPTY, "triton", repeats).figures}
    assert found["server_queue_ms"].repeats == pytest.approx((1.0, 4.0, 2.0))
    assert found["server_queue_ms"].value == pytest.approx(2.0)
    assert found["server_compute_ms"].repeats == pytest.approx((4.0, 5.5, 6.0))
    assert found["server_requests_per_execution"].value == 2


def test_a_service_that_does_not_tell_or_was_not_asked_costs_these_figures_alone() -> None:
    untold: list[list[list[dict[str, float]]]] = [[[]], [[NONE]], [[NONE, NONE]]]
    for repeats in untold:
        found = with_counted(EMPTY, "triton", repeats).figures
        assert [(figure.value, figure.missing) for figure in found] == [(None, MISSING)] * len(OF_COUNTERS["triton"])
    assert with_counted(EMPTY, "redis", [[]]) is EMPTY
