"""Tests which job of one campaign is paired with which job of another."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.reports.bundle import JobRecord
from orchestrator.verdicts.figures import FIGURES
from orchestrator.verdicts.pairing import pair_up
from orchestrator.verdicts.sides import side_of
from tests.unit.orchestrator.verdicts.jobs import B, failed, job, runtime, sides


def numbers(baseline: Sequence[JobRecord], current: Sequence[JobRecord], *, other_models: bool = False) -> list[tuple[str, str]]:
    """Return the numbers of the jobs of each pair. An empty text stands for a missing job."""
    return [
        tuple(side.job_id.rpartition("-")[2] if side else "" for side in (pair.baseline, pair.current))  # type: ignore[misc]
        for pair in pair_up(sides(*baseline), sides(*current), other_models=other_models)
    ]


def test_jobs_of_one_work_are_paired_by_their_options_in_any_order() -> None:
    base = [job(number=1, options={"threads": 1}), job(number=2, options={"threads": 2})]
    new = [job(number=1, options={"threads": 2}), job(number=2, options={"threads": 1})]
    assert numbers(base, new) == [("1", "2"), ("2", "1")]


def test_jobs_are_paired_on_their_own_device() -> None:
    base = [job(number=1, device="lab"), job(number=2, device="shed")]
    new = [job(number=1, device="shed"), job(number=2, device="lab")]
    assert numbers(base, new) == [("1", "2"), ("2", "1")]


def test_the_name_of_the_model_does_not_matter() -> None:
    assert numbers([job(name="old.onnx")], [job(name="new.onnx")]) == [("1", "1")]


def test_two_models_of_one_name_are_told_apart_by_their_bytes() -> None:
    base = [job(number=1), job(number=2, sha256=B)]
    assert numbers(base, [job(number=1, sha256=B), job(number=2)]) == [("1", "2"), ("2", "1")]


def test_a_changed_model_meets_the_job_that_asked_the_same() -> None:
    base = [job(number=1, name="a.onnx"), job(number=2, name="b.onnx", sha256=B)]
    new = [job(number=1, name="b.onnx", sha256="cc" * 32), job(number=2, name="a.onnx", sha256="dd" * 32)]
    assert numbers(base, new) == [("1", "2"), ("2", "1")]


def test_an_exact_counterpart_is_preferred_to_one_that_ran_elsewhere() -> None:
    base = [job(number=1)]
    assert numbers(base, [job(number=1, device="shed"), job(number=2)]) == [("1", "2"), ("", "1")]
    assert numbers(base, [job(number=1, said=runtime(graph_level="basic")), job(number=2)]) == [("1", "2"), ("", "1")]


def test_a_failed_job_meets_its_counterpart() -> None:
    base = [job(number=1, options={"threads": 1}), job(number=2, options={"threads": 2})]
    assert numbers(base, [failed(1, options={"threads": 2}), job(number=2, options={"threads": 1})]) == [("1", "2"), ("2", "1")]


def test_jobs_that_are_alike_are_paired_in_order_and_what_is_left_is_listed() -> None:
    assert numbers([job(number=1), job(number=2), job(number=3)], [job(number=1), job(number=2)]) == [("1", "1"), ("2", "2"), ("3", "")]
    assert numbers([job(number=1)], [job(number=1), job(number=2)]) == [("1", "1"), ("", "2")]


def test_another_question_has_no_counterpart() -> None:
    base = job(options={"batch_size": 1})
    other = job(said=runtime(batch_size=8), options={"batch_size": 8})
    assert numbers([base], [other]) == [("1", ""), ("", "1")]


def test_a_model_of_another_name_is_a_counterpart_only_if_that_is_allowed_and_clear() -> None:
    base, new = [job(name="v1.onnx")], [job(name="v2.onnx", sha256=B)]
    assert numbers(base, new) == [("1", ""), ("", "1")]
    assert numbers(base, new, other_models=True) == [("1", "1")]
    two = [*new, job(number=2, name="v3.onnx", sha256="cc" * 32)]
    assert numbers(base, two, other_models=True) == [("1", ""), ("", "1"), ("", "2")], "nothing says which of them replaced v1"
    same_device = [job(number=1, name="v2.onnx", sha256=B, device="shed"), job(number=2, name="v2.onnx", sha256=B)]
    assert numbers(base, same_device, other_models=True) == [("1", "2"), ("", "1")]


def test_a_side_names_its_device_by_the_label_that_tells_two_of_one_name_apart() -> None:
    labels = {"worker-lab": "lab (worker-lab)"}
    assert side_of(job(), FIGURES["inference_ms"], labels=labels).device == "lab (worker-lab)"
    assert side_of(job(device="shed"), FIGURES["inference_ms"], labels=labels).device == "shed"
