"""Tests that the figures of an inference are those of its row in the CSV, with one value for each repeat."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.reports.inferences.outcomes import COMPARED, FIGURES, outcome_of
from orchestrator.reports.rows import csv_row
from shared.figures import Figure, Outcome
from shared.measurements import RawRepeat
from shared.stats import summarise
from tests.unit.orchestrator.reports.bundles import ended_job, result_of

COLUMNS = {
    "inference_ms": "InferenceMsMedian",
    "load_ms": "LoadMsMedian",
    "inference_peak_mb": "PeakInferenceRamUsage",
    "load_peak_mb": "PeakLoadRamUsage",
    "inference_p90_ms": "InferenceMsP90",
    "throughput_per_s": "ThroughputPerS",
    "samples_per_s": "SamplesPerS",
    "cpu_percent": "CpuPercent",
}


def outcome(**changes: Any) -> Outcome:
    made = outcome_of(result_of(1, repeats=6, **changes))
    assert made is not None
    return made


def figure(name: str, **changes: Any) -> Figure:
    found = outcome(**changes).figure(name)
    assert found is not None
    return found


def raw(ms: float, index: int, wall_ns: int) -> RawRepeat:
    return RawRepeat(index=index, load_ns=1_000_000, warmup_ns=[], inference_ns=[round(ms * 1e6)] * 3, inference_wall_ns=wall_ns)


def test_a_figure_has_the_value_of_its_cell() -> None:
    result = result_of(1, repeats=6, runtime={"batch_size": 8})
    row, made = csv_row(ended_job(), result), outcome_of(result)
    assert made is not None
    for name, column in COLUMNS.items():
        one = made.figure(name)
        assert one is not None
        assert one.value == pytest.approx(row[column], abs=5e-4), name
    assert [one.name for one in made.figures] == list(dict.fromkeys(one.name for one in made.figures))
    assert {one.name for one in made.figures} == set(FIGURES)


def test_a_figure_that_can_be_compared_has_one_value_for_each_repeat() -> None:
    for name in COMPARED:
        assert len(figure(name).repeats) == 6, name
    assert figure("inference_p99_ms").repeats == ()


def test_a_percentile_of_a_small_sample_is_null_with_the_reason() -> None:
    one = figure("inference_p99_ms")
    assert one.value is None
    assert "662" in one.missing


def test_the_samples_per_second_are_the_calls_times_the_batch_and_so_is_their_interval() -> None:
    repeats = [raw(5.0 + index, index, (15 + index) * 1_000_000) for index in range(6)]
    calls, samples = (figure(name, summary=summarise(repeats), runtime={"batch_size": 8}) for name in ("throughput_per_s", "samples_per_s"))
    assert samples.value == pytest.approx(8 * (calls.value or 0))
    assert samples.repeats == pytest.approx([8 * rate for rate in calls.repeats])
    assert calls.repeats == pytest.approx([3000 / (15 + index) for index in range(6)])
    assert calls.interval is not None
    assert samples.interval is not None
    assert (samples.interval.low, samples.interval.high) == pytest.approx((8 * calls.interval.low, 8 * calls.interval.high))


def test_a_repeat_of_an_earlier_version_that_says_no_rate_leaves_no_values_to_compare() -> None:
    result = result_of(1, repeats=6)
    assert result.summary is not None
    old = [one.model_copy(update={"throughput_per_s": None}) for one in result.summary.repeats]
    one = figure("throughput_per_s", summary=result.summary.model_copy(update={"repeats": old}))
    assert one.repeats == ()
    assert one.value is not None


def test_what_a_sampler_measured_is_passed_on() -> None:
    result = result_of(1)
    assert result.summary is not None
    power = Figure(name="power_w", unit="W", better="lower", value=12.5, repeats=(12.0, 13.0))
    assert figure("power_w", summary=result.summary.model_copy(update={"figures": [power]})) == power


def test_a_result_without_a_summary_has_no_outcome() -> None:
    assert outcome_of(result_of(1, summary=None, status="failed")) is None
