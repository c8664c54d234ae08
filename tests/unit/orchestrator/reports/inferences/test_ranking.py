"""Tests that page one names a winner only among jobs of the same work, and shows how the compared jobs differ."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from orchestrator.reports.bundle import JobRecord
from orchestrator.reports.inferences.figures import figure
from orchestrator.reports.inferences.ranking import Ranking, rank
from orchestrator.reports.inferences.same_work import UNKNOWN_CONTENT
from shared.device_labels import device_labels
from shared.engine_options import EngineOptions
from shared.inputs import ModelRef
from shared.kinds.inference import InferenceSpec
from shared.protocol.messages import Device
from shared.repetition import StopRule
from shared.workloads import inference_workload
from tests.unit.orchestrator.reports.bundles import record, result_of


def job(
    number: int,
    median_ms: float,
    *,
    options: dict[str, Any] | None = None,
    worker: str = "worker-aaaa",
    device: str = "pi-5",
    **changes: Any,
) -> JobRecord:
    given: dict[str, Any] = options or {}
    batch = given.get("batch_size", 1)
    bound = {"name": "x", "type": "tensor(float)", "bound_shape": [batch, 4], "values_sha256": f"{batch:064x}"}
    runtime = {"inputs": [bound], "batch_size": batch, "threads": {"intra_op": given.get("threads") or 4, "inter_op": 1}}
    name = changes.pop("name", "model.onnx")
    stop = changes.pop("stop", None)
    workload = inference_workload(model=ModelRef(source="file:///models/model.onnx", name=name), options=EngineOptions(**given), stop=stop)
    content = {"runtime": runtime, "worker_id": worker, "device": Device(name=device), "model_name": name} | changes
    return record(number, result_of(number, median_ms, **content), workload=workload)


def ranked(*jobs: JobRecord, varied: tuple[str, ...] = ()) -> list[Ranking]:
    labels = device_labels((job.result.worker_id, job.result.device.name) for job in jobs if job.result is not None)
    return rank([figure(job, labels, varied) for job in jobs])


def test_two_models_of_one_name_are_not_compared() -> None:
    small, large = ranked(job(1, 0.002, model_sha256="aa" * 32), job(2, 13.25, model_sha256="bb" * 32))
    assert [small.work, large.work] == ["model.onnx · sha256 aaaaaaaa", "model.onnx · sha256 bbbbbbbb"]
    assert [small.verdict, large.verdict] == ["only pi-5 · CPU (ONNX) measured it"] * 2


def test_two_batches_of_one_model_are_not_compared_however_they_were_asked_for() -> None:
    one, many = ranked(job(1, 1.0), job(2, 62.0, options={"batch_size": 256}))
    assert [one.work, many.work] == ["model.onnx · batch 1", "model.onnx · batch 256"]
    assert "fastest" not in one.verdict + many.verdict


def test_two_devices_of_one_name_are_two_and_are_told_apart() -> None:
    (ranking,) = ranked(job(1, 5.0, worker="worker-ab12zz"), job(2, 10.0, worker="worker-cd34zz"))
    assert ranking.places == ["pi-5 (worker-ab12) · CPU (ONNX)", "pi-5 (worker-cd34) · CPU (ONNX)"]
    assert ranking.verdict.startswith("pi-5 (worker-ab12) · CPU (ONNX) is the fastest, 2.0")
    assert len({one.where for one in ranking.figures}) == 2, "each has a colour of its own in the picture"


def test_threads_are_what_is_compared_even_if_nobody_swept_them() -> None:
    (ranking,) = ranked(job(1, 5.0, options={"threads": 4}), job(2, 10.0, options={"threads": 1}))
    assert ranking.places == ["pi-5 · CPU (ONNX) · threads 4", "pi-5 · CPU (ONNX) · threads 1"]
    assert "threads 4 is the fastest, 2.0" in ranking.verdict


def test_threads_that_differ_between_devices_alone_need_not_be_said() -> None:
    (ranking,) = ranked(job(1, 5.0, options={"threads": 4}), job(2, 10.0, options={"threads": 1}, worker="worker-bbbb", device="h200"))
    assert ranking.places == ["pi-5 · CPU (ONNX)", "h200 · CPU (ONNX)"]


def test_threads_that_the_recipe_swept_are_said_though_each_device_ran_one_of_them() -> None:
    """The jobs of a sweep may run on different devices. A row with only the device's name would hide half of the difference."""
    jobs = job(1, 5.0, options={"threads": 4}), job(2, 10.0, options={"threads": 1}, worker="worker-bbbb", device="h200")
    (ranking,) = ranked(*jobs, varied=("options.threads",))
    assert ranking.places == ["pi-5 · CPU (ONNX) · threads 4", "h200 · CPU (ONNX) · threads 1"]


def test_works_that_only_their_values_tell_apart_are_called_as_the_recipe_swept_them() -> None:
    """A batch changes the values of every input, so a title has no space for the one input that the recipe swept."""
    inputs = [f"past.{number}" for number in range(6)] + ["use_cache"]

    def decoder(number: int, batch: int, cache: bool) -> JobRecord:
        drawn = dict.fromkeys(inputs, f"{batch:064x}") | {"use_cache": f"{int(cache):064x}"}
        bound = [{"name": n, "type": "tensor(float)", "bound_shape": [batch, 4], "values_sha256": v} for n, v in drawn.items()]
        given = {"dims": {"batch": batch}, "values": {"use_cache": cache}}
        return job(number, 1.0, options=given, runtime={"inputs": bound, "batch_size": batch})

    jobs = [decoder(2 * batch + cache, batch, cache) for batch in (1, 4) for cache in (False, True)]
    works = [ranking.work for ranking in ranked(*jobs, varied=("options.dims.batch", "options.values.use_cache"))]
    assert works[0] == "model.onnx · dims.batch=1; values.use_cache=false"
    assert works[3] == "model.onnx · dims.batch=4; values.use_cache=true"


def test_the_same_bytes_under_two_names_are_compared_and_named() -> None:
    (ranking,) = ranked(job(1, 5.0, name="A", options={"threads": 4}), job(2, 10.0, name="B", options={"threads": 1}))
    assert ranking.work == "A, B"
    assert ranking.places == ["pi-5 · CPU (ONNX) · A · threads 4", "pi-5 · CPU (ONNX) · B · threads 1"]


def test_nothing_is_ranked_where_nobody_knows_which_bytes_were_measured() -> None:
    unknown = ranked(job(1, 10.0, model_sha256=None), job(2, 5.0, model_sha256=None, worker="worker-bbbb", device="h200"))
    assert [ranking.verdict for ranking in unknown] == [UNKNOWN_CONTENT]
    assert [one.job_id[-1] for one in unknown[0].figures] == ["1", "2"], "in the order of the campaign, not by speed"


def test_what_else_the_recipe_swept_is_told_apart() -> None:
    def with_inferences(one: JobRecord, inferences: int) -> JobRecord:
        return replace(one, workload=one.workload.model_copy(update={"spec": InferenceSpec(inferences=inferences)}))

    (ranking,) = ranked(with_inferences(job(1, 5.0), 10), with_inferences(job(2, 5.5), 20), varied=("inferences",))
    assert [place.rpartition(" · ")[2] for place in ranking.places] == ["inferences 10", "inferences 20"]
    assert ranking.verdict == "only pi-5 · CPU (ONNX) measured it"


def test_the_figures_are_those_of_the_summary_and_not_of_the_csv_s_cells() -> None:
    one = job(1, 5.0)
    assert one.result is not None
    assert one.result.summary is not None
    spoilt = record(1, one.result, workload=one.workload, row={"InferenceMsMedian": 1e9, "DeviceName": "another"})
    made = figure(spoilt)
    assert (made.median, made.device) == (one.result.summary.inference.median, "pi-5")


def test_a_precision_that_was_missed_is_known() -> None:
    one = job(1, 5.0, stop=StopRule(precision=0.0001))
    assert one.result is not None
    assert one.result.summary is not None
    spent = one.result.model_copy(update={"summary": one.result.summary.model_copy(update={"stopped_because": "budget spent: 600 s"})})
    assert figure(record(1, spent, workload=one.workload)).missed_precision
    reached = one.result.summary.model_copy(update={"stopped_because": "precision reached: ±0.01% after 9 repeats"})
    assert not figure(record(1, one.result.model_copy(update={"summary": reached}), workload=one.workload)).missed_precision


def test_a_device_that_was_measured_twice_does_not_win_by_its_luckier_job() -> None:
    (ranking,) = ranked(job(1, 1.0), job(2, 3.0), job(3, 2.0, worker="worker-bbbb", device="nuc"))
    assert "fastest" not in ranking.verdict
    assert "cannot be told apart from nuc" in ranking.verdict
    (ranking,) = ranked(job(1, 1.0), job(2, 1.1), job(3, 2.0, worker="worker-bbbb", device="nuc"))
    assert ranking.verdict.startswith("pi-5 · CPU (ONNX) is the fastest, 2.00× as fast as nuc")


def test_one_device_that_ran_the_same_bytes_under_two_names_is_not_faster_than_itself() -> None:
    (ranking,) = ranked(job(1, 1.0, name="A"), job(2, 1.5, name="B"))
    assert ranking.verdict == "only pi-5 · CPU (ONNX) measured it"


def test_ten_thousand_jobs_of_one_work_and_a_thousand_models_of_one_name_take_a_moment() -> None:
    """If each job were compared with each other one, the reporter would need half an hour for the files of a large campaign."""
    one = figure(job(1, 1.0))
    same = [replace(one, job_id=f"job-{number}") for number in range(10_000)]
    models = [
        replace(one, work=replace(one.work, content=f"{number:064x}", inputs=(replace(one.work.inputs[0], name=f"x{number}"),)))
        for number in range(1_000)
    ]
    begin = time.process_time()
    assert len(rank([*same, *models])) == 1_001
    assert time.process_time() - begin < 3
