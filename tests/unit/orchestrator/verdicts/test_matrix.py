"""Tests a campaign's jobs as a matrix, in which every cell answers one question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.reports.bundle import JobRecord
from orchestrator.verdicts.figures import FIGURES
from orchestrator.verdicts.matrix import AXES, Cell, axes_of, entry_of, matrix
from shared.errors import InvalidInput
from shared.measurements import Noise, RawRepeat
from shared.stats import summarise
from tests.unit.orchestrator.verdicts.jobs import SIX, B, bound, failed, job, raw_of, runtime


def cells(*jobs: JobRecord, by: str = "device,capability,model", metric: str = "inference_ms", varied: Sequence[str] = ()) -> list[Cell]:
    kind = FIGURES[metric]
    entries = [entry_of(one, kind, one.result.device.name if one.result else "", varied) for one in jobs]
    return matrix(entries, axes_of(by), kind)


def times(factor: float) -> tuple[float, ...]:
    return tuple(value * factor for value in SIX)


def measured(number: int, raw: list[RawRepeat], further_loads_ns: Sequence[int] = ()) -> JobRecord:
    one = job(number=number)
    assert one.result is not None
    return replace(one, result=one.result.model_copy(update={"summary": summarise(raw, list(further_loads_ns))}))


def test_each_device_capability_and_model_has_its_cell() -> None:
    gpu: dict[str, Any] = {"capability": "gpu.cuda.onnx", "said": runtime(provider="CUDAExecutionProvider")}
    found = cells(job(), job(times(0.5), 2, **gpu), job(times(2), 3, name="n.onnx", sha256=B))
    assert [tuple(cell.at.values()) for cell in found] == [
        ("lab", "cpu.onnx", "m.onnx"),
        ("lab", "gpu.cuda.onnx", "m.onnx"),
        ("lab", "cpu.onnx", "n.onnx"),
    ]
    assert [cell.value for cell in found] == pytest.approx([10.035, 5.0175, 20.07])
    assert [cell.of_best for cell in found] == pytest.approx([2.0, 1.0, 1.0]), "against the best of the same work alone"
    assert found[0].low == pytest.approx(9.91)


def test_jobs_of_different_work_have_no_common_value() -> None:
    eight: dict[str, Any] = {"said": runtime(inputs=[bound(shape=(8, 4))], batch_size=8), "options": {"batch_size": 8}}
    (cell,) = cells(job(), job(times(8), 2, **eight))
    assert cell.value is None
    assert cell.missing == f"2 jobs of different work meet here; add an axis to `by`: {', '.join(AXES)}"
    assert [one.value for one in cells(job(), job(times(8), 2, **eight), by="batch")] == pytest.approx([10.035, 80.28])


def test_jobs_with_different_settings_have_no_common_value() -> None:
    (cell,) = cells(job(), job(times(2), 2, said=runtime(threads={"intra_op": 1, "inter_op": 1})))
    assert cell.missing.startswith("2 jobs with different settings meet here")


@pytest.mark.parametrize(
    ("option", "said"),
    [({"graph": "disabled"}, {"graph_level": "disabled"}), ({"inter_threads": 4}, {"threads": {"intra_op": 2, "inter_op": 4}})],
    ids=["graph", "inter_threads"],
)
def test_a_swept_setting_that_has_no_axis_of_its_own_is_not_merged_but_named(option: dict[str, Any], said: dict[str, Any]) -> None:
    jobs = job(), job(times(3), 2, options=option, said=runtime(**said))
    (cell,) = cells(*jobs)
    assert cell.value is None
    assert cell.missing.startswith("2 jobs with different settings meet here; add an axis to `by`: ")
    apart = cells(*jobs, by="parameters", varied=[f"options.{name}" for name in option])
    assert [one.value for one in apart] == pytest.approx([10.035, 30.105])


def test_the_peak_of_two_jobs_is_the_larger_of_theirs() -> None:
    def with_peaks(number: int, highest: float) -> JobRecord:
        return measured(number, [replace(one, inference_peak_mb=highest if one.index == 5 else 100.0) for one in raw_of(SIX)])

    (cell,) = cells(with_peaks(1, 800.0), with_peaks(2, 900.0), metric="inference_peak_mb")
    assert (cell.value, cell.low, cell.high) == (900.0, None, None)


def test_load_times_with_further_loads_have_no_common_value_and_say_so() -> None:
    """The figure of a job covers all its loads. Only the first load of each repeat is known separately."""
    loads = [measured(number, [replace(one, load_ns=500_000_000) for one in raw_of(SIX[:2])], [5_000_000] * 20) for number in (1, 2)]
    assert [one.value for one in cells(loads[0], metric="load_ms")] == [5.0]
    (cell,) = cells(*loads, metric="load_ms")
    assert (cell.value, cell.low) == (None, None)
    assert cell.missing == "2 jobs meet here, and this figure cannot be computed for several jobs together"
    assert cells(job(), job(number=2), metric="load_ms")[0].value == pytest.approx(5.0, rel=1e-5)


def test_a_job_that_failed_first_does_not_hide_how_far_its_cell_is_from_the_best() -> None:
    gpu: dict[str, Any] = {"capability": "gpu.cuda.onnx", "said": runtime(provider="CUDAExecutionProvider")}
    found = cells(failed(1), job(number=2), job(times(0.5), 3, **gpu), by="capability")
    assert [len(cell.job_ids) for cell in found] == [2, 1]
    assert [cell.of_best for cell in found] == pytest.approx([2.0, 1.0])


def test_the_only_value_of_a_sweep_whose_other_job_failed_does_not_stand_for_the_cell() -> None:
    """One device failed at one batch size, and the other device at the other one. Their values answer different questions."""
    eight: dict[str, Any] = {"said": runtime(inputs=[bound(shape=(8, 4))], batch_size=8), "options": {"batch_size": 8}}
    jobs = job(), failed(2, options={"batch_size": 8}), failed(3), job(times(8), 4, **eight)
    varied = ["options.batch_size"]
    (cell,) = cells(*jobs, by="model", varied=varied)
    assert (cell.value, cell.of_best) == (None, None)
    (cell,) = cells(*jobs[:2], by="model", varied=varied)
    assert (cell.value, cell.of_best) == (None, None)
    assert cell.missing.startswith("2 jobs that differ in what was asked for meet here, and some have no value; add an axis to `by`: ")
    (cell,) = cells(job(), replace(failed(2), compute_unit="CPU (ONNX)", capability=None), by="model")
    assert cell.value == pytest.approx(10.035), "the same job, which no device got"
    one, two = cells(*jobs[:2], by="model,parameters", varied=varied)
    assert one.value == pytest.approx(10.035)
    assert two.missing == "the job is failed"


def test_the_same_job_measured_twice_is_one_value_over_all_repeats() -> None:
    (cell,) = cells(job(), job(times(1.02), 2))
    assert cell.value == pytest.approx((10.1082 + 10.11) / 2)
    assert len(cell.job_ids) == 2
    assert cell.low is not None
    (p90,) = cells(job(), job(number=2), metric="throughput_per_s")
    assert "cannot be computed for several jobs together" in p90.missing


def test_a_job_without_a_figure_says_why() -> None:
    (one, other) = cells(failed(1), job(number=2), by="parameters,device")
    assert (one.value, one.missing, one.at["device"]) == (None, "the job is failed", "no device")
    assert other.value is not None
    assert [cell.missing for cell in cells(job(), metric="inference_p99_ms")] == ["it has no inference_p99_ms"]


def test_the_best_of_a_higher_is_better_figure_is_the_largest() -> None:
    found = cells(job(), job(times(2), 2, device="shed"), metric="throughput_per_s")
    assert [cell.of_best for cell in found] == pytest.approx([1.0, 0.5], rel=1e-3)


def test_a_work_of_unknown_bytes_is_compared_with_nothing() -> None:
    (cell,) = cells(job(sha256=None))
    assert (cell.value is not None, cell.of_best) == (True, None)


def test_the_noise_of_a_cell_is_the_worst_of_its_jobs() -> None:
    (cell,) = cells(job(noise=Noise(grade="noisy", reasons=["x"])), job(number=2))
    assert cell.noise == "noisy"


def test_what_the_recipe_swept_is_an_axis() -> None:
    found = cells(job(options={"threads": 1}), job(times(2), 2, options={"threads": 2}), by="parameters", varied=("options.threads",))
    assert [cell.at["parameters"] for cell in found] == ["threads=1", "threads=2"]


def test_axes_are_names_with_commas() -> None:
    assert axes_of("model, device,model") == ("model", "device")
    with pytest.raises(InvalidInput, match="'modell' is no axis: did you mean 'model'"):
        axes_of("device,modell")
    with pytest.raises(InvalidInput, match="name an axis"):
        axes_of(",")
