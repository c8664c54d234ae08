"""Tests the figures of a load against values that were worked out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.errors import ModelInvalid
from shared.request_records import CLOSED, OPEN, SUCCESS, TIMEOUT, record_type
from worker.load.ceiling import check_rate, is_client_bound
from worker.load.figures import outcome_of
from worker.load.phases import Measured

MS = 1_000_000


def records(rows: list[tuple[float, float, float, int]]) -> NDArray[np.void]:
    """Return records from rows of: due, delay and latency in milliseconds, and the failure."""
    found = np.zeros(len(rows), record_type())
    for number, (due, delay, latency, failure) in enumerate(rows):
        found[number] = (int(due * MS), delay * MS, latency * MS / 2, latency * MS, 100, 0, 0, failure)
    return found


def outcome(rows: list[tuple[float, float, float, int]], *, duration_s: float | None, open_loop: bool = True, ceiling: float = 1e6):  # type: ignore[no-untyped-def]
    measured = Measured("all", records(rows), duration_s, open_loop)
    return outcome_of([[measured]], service_type="redis", operations=["get"], concurrency=3, ceiling_per_s=ceiling)


def value(found, name: str) -> float | None:  # type: ignore[no-untyped-def]
    figure = found.figure(name)
    return figure.value if figure else None


def test_warm_up_drain_failures_and_what_was_never_sent_are_apart_from_the_rate() -> None:
    found = outcome(
        [
            (-50, 0, 10, SUCCESS),  # this request belongs to the warm-up
            (-5, 0, 10, SUCCESS),  # this warm-up ends inside the window: it is a completion, but not a measured request
            (0, 1, 10, SUCCESS),
            (100, 1, 20, SUCCESS),
            (200, 1, 500, TIMEOUT),
            (900, 1, 30, SUCCESS),
            (990, 1, 40, SUCCESS),  # this request ends after the window
            (995, 5, float("nan"), OPEN),  # this request was never sent
            (1_000, 0, 10, SUCCESS),  # this request is due after the window
        ],
        duration_s=1.0,
    )
    assert value(found, "requests_per_s") == 4
    assert value(found, "rate_asked") == 6
    assert value(found, "rate_achieved") == 5
    assert value(found, "error_count") == 2
    assert value(found, "success_rate") == pytest.approx(100 * 4 / 6)
    assert value(found, "latency_ms_p50") == 25
    assert value(found, "latency_ms_avg") == 25
    assert value(found, "latency_scheduled_ms_p50") == 26
    assert value(found, "ttfb_ms_p50") == 12.5
    assert value(found, "bytes_per_s") == 400
    assert found.detail["apart"] == {"warm_up": 2, "drain": 1, "never_sent": 1, "open_at_the_end": 0}
    assert found.detail["failures"] == {"kinds": {"timeout": 1, "open": 1}, "statuses": {}}
    assert found.distributions["failed"].median == 500


def test_one_stuck_request_does_not_stretch_the_window_of_a_counted_load() -> None:
    rows = [(number * 10.0, 0.0, 9.0, SUCCESS) for number in range(100)]
    rows[50] = (500.0, 0.0, 20_000.0, SUCCESS)
    found = outcome(rows, duration_s=None, open_loop=False)
    assert value(found, "requests_per_s") == pytest.approx(98 / 0.99)  # until the last one was sent; two were in flight then
    assert value(found, "rate_asked") is None
    assert found.figure("rate_asked").missing == "a closed loop has no schedule"


def test_a_handful_of_slow_requests_is_counted_to_its_last_answer() -> None:
    found = outcome([(0.0, 0.0, 100.0, SUCCESS), (0.0, 0.0, 200.0, SUCCESS)], duration_s=None, open_loop=False)
    assert value(found, "requests_per_s") == pytest.approx(2 / 0.2)


def test_every_request_of_a_trace_is_inside_of_its_window() -> None:
    trace = Measured("all", records([(number * 10.0, 0.5, 4.5, SUCCESS) for number in range(5)]), None, open_loop=True, to_last_answer=True)
    found = outcome_of([[trace]], service_type="redis", operations=["get"], concurrency=3, ceiling_per_s=1e6)
    for name in ("requests_per_s", "rate_asked", "rate_achieved"):
        assert value(found, name) == pytest.approx(5 / 0.045), name
    assert found.detail["apart"] == {"warm_up": 0, "drain": 0, "never_sent": 0, "open_at_the_end": 0}


def test_percentiles_that_the_sample_cannot_give_are_null_with_the_reason() -> None:
    found = outcome([(float(number), 0.0, 1.0, SUCCESS) for number in range(200)], duration_s=1.0)
    assert value(found, "latency_ms_p95") == 1
    assert value(found, "latency_ms_p99") is None
    assert found.figure("latency_ms_p99").missing == "needs 662 samples, has 200"


def test_when_every_request_fails_there_is_no_latency_and_the_reason_is_said() -> None:
    found = outcome([(float(number), 0.0, 1.0, CLOSED) for number in range(9)], duration_s=1.0)
    assert value(found, "success_rate") == 0
    assert value(found, "requests_per_s") == 0
    assert value(found, "latency_ms_p50") is None
    assert found.figure("latency_ms_p50").missing == "no request succeeded"
    json.dumps(found.model_dump(mode="json"))


@pytest.mark.parametrize(
    ("rate", "ceiling", "late", "p50", "bound"),
    [
        (59, 100, None, None, False),
        (61, 100, None, None, True),
        (1, 100, 0.06, 1.0, True),
        (1, 100, 0.04, 1.0, False),
        (1, None, None, 1.0, False),
    ],
)
def test_a_point_near_the_clients_ceiling_or_sent_late_is_client_bound(
    rate: float, ceiling: float | None, late: float | None, p50: float | None, bound: bool
) -> None:
    found, why = is_client_bound(rate, ceiling, late, p50)
    assert found is bound
    assert bool(why) is bound


def test_the_operations_of_a_mixed_load_have_rates_of_their_own_in_their_own_units() -> None:
    mixed = records([(number * 10.0, 0.0, 5.0, TIMEOUT if number == 0 else SUCCESS) for number in range(100)])
    mixed["operation"] = [0] * 30 + [1] * 70
    found = outcome_of(
        [[Measured("mixed", mixed, 2.0, False)]],
        service_type="minio",
        operations=["put", "get"],
        concurrency=1,
        ceiling_per_s=None,
        units={"put_bytes_per_second": 1_000.0, "get_bytes_per_second": 1_000.0},
    )
    assert (value(found, "put_ops_per_second"), value(found, "get_ops_per_second")) == (29 / 2, 70 / 2)
    assert (value(found, "put_bytes_per_second"), value(found, "get_bytes_per_second")) == (14_500, 35_000)
    only = outcome_of(
        [[Measured("mixed", mixed[30:], 2.0, False)]], service_type="minio", operations=["put", "get"], concurrency=1, ceiling_per_s=None
    )
    assert value(only, "put_ops_per_second") is None, "nothing was written, which is not the same as 0 objects per second"
    assert [figure.missing for figure in only.figures if figure.name == "put_ops_per_second"] == ["nothing was measured"]


def test_a_phase_that_fills_the_service_enters_only_its_own_figures_and_the_failures() -> None:
    fill = Measured("insert", records([(0, 0, 500, SUCCESS), (0, 0, 900, TIMEOUT)]), None, False)
    rows = [(number * 10.0, 0.0, 5.0, SUCCESS) for number in range(100)]
    queries = records(rows)
    queries["operation"] = 1
    found = outcome_of(
        [[fill, Measured("query", queries, 1.0, True)]],
        service_type="chroma",
        operations=["insert", "query"],
        concurrency=1,
        ceiling_per_s=None,
        units={"insert_vps": 100.0},
        fills=("insert",),
        found={"recall_at_k": ([0.9, 1.0, 0.8], ""), "index_wait_s": ([], "no query was sent after the inserts")},
    )
    assert (value(found, "requests_per_s"), value(found, "latency_ms_p50"), value(found, "rate_asked")) == (100, 5, 100)
    assert [value(found, name) for name in ("query_qps", "query_duration")] == pytest.approx([100, 0.995])
    assert [value(found, name) for name in ("insert_vps", "insert_duration")] == pytest.approx([100 / 0.9, 0.9])
    assert (value(found, "error_count"), found.detail["by_operation"]["insert"]["failures"]) == (1, 1)
    assert value(found, "recall_at_k") == 0.9
    (recall,) = (figure for figure in found.figures if figure.name == "recall_at_k")
    assert recall.repeats == (0.9, 1.0, 0.8)
    assert value(found, "index_wait_s") is None


def test_a_rate_far_above_the_clients_ceiling_is_refused_and_one_near_it_is_not() -> None:
    for rate, ceiling in ((150.0, 100.0), (1e9, None), (0.0, 100.0)):
        check_rate(rate, ceiling)
    with pytest.raises(ModelInvalid, match=r"load\.rate is 1000000 requests/s, and these clients reach 20000 on this device"):
        check_rate(1e6, 2e4)
