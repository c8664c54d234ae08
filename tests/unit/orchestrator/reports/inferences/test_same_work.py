"""Tests which jobs may be ranked against each other, with known pairs of jobs: some have the same work and some do not."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.reports.bundle import JobRecord
from orchestrator.reports.inferences.same_work import titles, work_of
from shared.engine_options import EngineOptions
from shared.inputs import Companion, ModelRef
from shared.protocol.messages import Device
from shared.workloads import inference_workload
from tests.unit.orchestrator.reports.bundles import record, result_of

A, B = "aa" * 32, "bb" * 32


def bound(
    name: str = "x", shape: tuple[int, ...] = (1, 3, 224, 224), kind: str = "tensor(float)", values: str = "11" * 32
) -> dict[str, Any]:
    return {"name": name, "type": kind, "shape": ["n", 3, 224, 224], "bound_shape": list(shape), "values": "drawn", "values_sha256": values}


def job(
    *, sha256: str | None = A, inputs: list[dict[str, Any]] | None = None, options: dict[str, Any] | None = None, **runtime: Any
) -> JobRecord:
    """Return a job of the model `m.onnx`. `runtime` is what the runtime reported apart from its inputs."""
    said: dict[str, Any] = {"inputs": inputs if inputs is not None else [bound()], "batch_size": 1, **runtime}
    workload = inference_workload(model=ModelRef(source="file:///m.onnx", name="m.onnx"), options=EngineOptions(**options or {}))
    return record(1, result_of(1, runtime=said, model_sha256=sha256, model_name="m.onnx"), workload=workload)


@pytest.mark.parametrize(
    "other",
    [
        job(),
        job(options={"threads": 4}, threads={"intra_op": 4, "inter_op": 1}),
        job(options={"inter_threads": 2}),
        job(options={"graph": "basic"}, graph_level="basic"),
        job(options={"compile": "max-autotune"}, graph_level="max-autotune"),
        job(options={"providers": ("CUDAExecutionProvider",)}, provider="CUDAExecutionProvider"),
        job(options={"batch_size": 1}),  # the recipe asks for the batch size that is also the default
        job(options={"shapes": {"x": (1, 3, 224, 224)}}),
    ],
    ids=[
        "the same again",
        "threads",
        "threads between operators",
        "graph level",
        "compiler",
        "provider",
        "batch as asked",
        "shape as asked",
    ],
)
def test_where_only_the_answer_differs_it_is_the_same_work(other: JobRecord) -> None:
    assert work_of(job()) == work_of(other)
    assert hash(work_of(job())) == hash(work_of(other))


@pytest.mark.parametrize(
    ("other", "title", "theirs"),
    [
        (job(sha256=B), "m.onnx · sha256 aaaaaaaa", "m.onnx · sha256 bbbbbbbb"),
        (job(inputs=[bound(shape=(256, 3, 224, 224))], batch_size=256), "m.onnx · batch 1", "m.onnx · batch 256"),
        (job(inputs=[bound(shape=(1, 3, 512, 512))]), "m.onnx · x 1×3×224×224", "m.onnx · x 1×3×512×512"),
        (job(inputs=[bound(kind="tensor(float16)")]), "m.onnx · x tensor(float)", "m.onnx · x tensor(float16)"),
        (job(inputs=[bound(values="22" * 32)]), "m.onnx · x with the values 11111111", "m.onnx · x with the values 22222222"),
        (job(sha256=None), "m.onnx · sha256 aaaaaaaa", "m.onnx · content unknown"),
    ],
    ids=["other bytes", "another batch", "another shape", "another type", "other values", "unknown bytes"],
)
def test_where_the_question_differs_it_is_other_work_and_is_called_otherwise(other: JobRecord, title: str, theirs: str) -> None:
    mine, its = work_of(job()), work_of(other)
    assert mine != its
    called = titles({mine: "m.onnx", its: "m.onnx"})
    assert (called[mine], called[its]) == (title, theirs)


def test_the_bytes_beside_a_model_are_part_of_it() -> None:
    """No device has run this upload yet, so only its graph and its weights are known."""

    def with_weights(sha256: str) -> JobRecord:
        weights = Companion(name="weights.bin", sha256=sha256, size=1)
        workload = inference_workload(model=ModelRef(source=f"sha256:{A}", name="m.onnx", sha256=A, size=1, companions=(weights,)))
        return record(1, workload=workload)

    assert work_of(with_weights(A)) == work_of(with_weights(A))
    assert work_of(with_weights(A)) != work_of(with_weights(B))


def test_the_same_bytes_under_another_name_or_address_are_the_same_work() -> None:
    other = inference_workload(model=ModelRef(source="https://example.org/n.onnx", name="n.onnx"))
    assert work_of(job()) == work_of(record(2, job().result, workload=other))


def test_a_work_of_unknown_bytes_may_not_be_ranked() -> None:
    assert not work_of(job(sha256=None)).may_be_ranked()
    assert work_of(job()).may_be_ranked()


def test_the_device_is_no_part_of_the_work() -> None:
    assert work_of(job()) == work_of(record(2, result_of(2, runtime=job().result.runtime, model_sha256=A, device=Device(name="h200"))))  # type: ignore[union-attr]


def test_if_a_worker_does_not_report_its_inputs_the_options_are_compared() -> None:
    """Results of earlier workers contain the shapes but not the values, which were drawn from the seed."""

    def old(**options: Any) -> JobRecord:
        inputs = [{"name": "x", "type": "tensor(float)", "shape": ["n", 4], "bound_shape": [1, 4]}]
        return job(inputs=inputs, options=options, batch_size=None)

    assert work_of(old(threads=1)) == work_of(old(threads=2))
    assert work_of(old(seed=1)) != work_of(old(seed=2))
    assert work_of(job(inputs=[], options={"batch_size": 1})) != work_of(job(inputs=[], options={"batch_size": 8}))
    called = titles({work_of(old(seed=1)): "m", work_of(old(seed=2)): "m"})
    assert sorted(called.values()) == ["m · seed 1", "m · seed 2"]


def test_a_title_names_only_inputs_that_differ_and_no_more_than_it_has_room_for() -> None:
    def cached(length: int) -> JobRecord:
        return job(inputs=[bound("ids", (1, 7)), *(bound(f"cache.{layer}", (1, length)) for layer in range(9))])

    called = titles({work_of(cached(length)): "llm.onnx" for length in (16, 32)})
    assert sorted(called.values()) == [
        f"llm.onnx · cache.0 1×{length}, cache.1 1×{length}, cache.2 1×{length}, and 6 more" for length in (16, 32)
    ]


def test_works_that_no_title_has_room_to_tell_apart_are_numbered() -> None:
    def differing_last(last: int) -> JobRecord:
        return job(inputs=[bound(f"in.{number}", (number if number < 4 else last,)) for number in range(5)], batch_size=None)

    def differing_first(first: int) -> JobRecord:
        return job(inputs=[bound(f"in.{number}", (first + number,)) for number in range(4)] + [bound("in.4", (0,))], batch_size=None)

    works = [work_of(one) for one in (differing_first(1), differing_first(2), differing_last(8), differing_last(9))]
    assert len(set(works)) == 4
    called = titles(dict.fromkeys(works, "m"))
    assert len(set(called.values())) == 4


def test_names_that_differ_need_nothing_more() -> None:
    assert set(titles({work_of(job()): "a.onnx", work_of(job(sha256=B)): "b.onnx"}).values()) == {"a.onnx", "b.onnx"}
