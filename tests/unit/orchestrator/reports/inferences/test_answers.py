"""Tests the answer of a sweep, for latency and for samples per second. It names a winner only if the data show one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.reports.bundle import JobRecord
from orchestrator.reports.inferences.answers import Answer, answers
from orchestrator.reports.inferences.figures import Figure
from orchestrator.reports.inferences.page import report
from orchestrator.reports.inferences.page_markdown import report_md
from orchestrator.reports.inferences.plot_tradeoff import is_drawn
from orchestrator.reports.inferences.ranking import rank
from shared.engine_options import EngineOptions
from shared.inputs import ModelRef
from shared.jobs import JobStatus
from shared.measurements import Noise
from shared.protocol.messages import Device
from shared.workloads import inference_workload
from tests.unit.orchestrator.reports.bundles import CAMPAIGN, bundle, record, result_of
from tests.unit.orchestrator.reports.sweeps import MODEL, VARIED, cell, figures

NUC: dict[str, Any] = {"device": Device(name="nuc"), "worker": "worker-bbbb"}


def answered(*jobs: JobRecord) -> list[Answer]:
    return answers(figures(*jobs))


def content_of(jobs: list[JobRecord], found: list[Figure] | None = None) -> dict[str, Any]:
    """Return the data of the page of these jobs, whose figures are `found`."""
    found = found or figures(*jobs)
    return report(bundle(jobs), found, rank(found), answers(found))


def test_a_sweep_has_one_answer_for_latency_and_for_samples_per_second() -> None:
    """A call with 8 images takes 160 ms, which is 50 images per second; one image takes 40 ms, which is 25 per second."""
    (answer,) = answered(cell(1, 40.0), cell(2, 160.0, batch=8), cell(3, 80.0, threads=2), cell(4, 400.0, batch=8, threads=2))
    assert answer.question == MODEL
    assert answer.verdict.startswith("for latency, batch 1 · threads 1 is best (40")
    assert "× as fast as the next, batch 1 · threads 2); for throughput, batch 8 · threads 1 is best (" in answer.verdict
    assert "samples/s, 2.0" in answer.verdict
    assert [one.samples_per_s for one in answer.figures] == pytest.approx([25, 12.5, 50, 20], rel=0.02)
    assert [one.job_id[-1] for one in answer.figures if one.job_id in answer.front] == ["1", "2"]


def test_throughput_is_not_judged_by_the_order_of_the_latencies() -> None:
    """The largest batch has the worst latency and the most samples per second: 32 in 320 ms are 100 per second."""
    (answer,) = answered(cell(1, 20.0), cell(2, 100.0, batch=8), cell(3, 320.0, batch=32))
    assert "for latency, batch 1 is best" in answer.verdict
    assert "for throughput, batch 32 is best (100" in answer.verdict.replace("99.", "100.").replace("101", "100")


def test_what_cannot_be_told_apart_is_said_for_each_of_the_two() -> None:
    (answer,) = answered(cell(1, 40.0), cell(2, 40.01, threads=2), cell(3, 160.0, batch=8), cell(4, 160.05, batch=8, threads=2))
    latency, throughput = answer.verdict.split("; for throughput, ")
    assert "came first" in latency
    assert "cannot be told apart from batch 1 · threads" in latency
    assert "cannot be told apart from batch 8 · threads" in throughput
    assert "is best" not in answer.verdict


def test_no_winner_is_named_without_intervals() -> None:
    (answer,) = answered(cell(1, 40.0, repeats=1), cell(2, 100.0, batch=8, repeats=1))
    assert answer.verdict.count("has no interval (it needs 2 repeats), so no winner is named") == 2
    assert "is best" not in answer.verdict


def test_a_result_of_an_earlier_version_has_a_rate_without_an_interval() -> None:
    def old(job: JobRecord) -> JobRecord:
        assert job.result is not None
        assert job.result.summary is not None
        repeats = [repeat.model_copy(update={"throughput_per_s": None}) for repeat in job.result.summary.repeats]
        return replace(job, result=job.result.model_copy(update={"summary": job.result.summary.model_copy(update={"repeats": repeats})}))

    (answer,) = answered(old(cell(1, 40.0)), old(cell(2, 100.0, batch=8)))
    assert "for latency, batch 1 is best" in answer.verdict
    assert "its result does not say the figure of each repeat" in answer.verdict


@pytest.mark.parametrize("noisy", [1, 2])
def test_a_verdict_that_depends_on_noisy_results_says_so(noisy: int) -> None:
    noise: dict[str, Any] = {"noise": Noise(grade="noisy", reasons=["other work kept 1.2 cores busy while measuring"])}
    jobs = [cell(1, 40.0, **noise), cell(2, 100.0, batch=8, **(noise if noisy == 2 else {}))]
    (answer,) = answered(*jobs)
    which = "1 of these 2 results is" if noisy == 1 else "these 2 results are"
    assert answer.verdict.endswith(f"; {which} noisy, so do not rely on this verdict before you have measured again on a quiet machine")
    assert "noisy" not in answered(cell(1, 40.0), cell(2, 100.0, batch=8))[0].verdict


def test_devices_that_measured_every_cell_are_compared() -> None:
    jobs = [cell(1, 40.0), cell(2, 160.0, batch=8), cell(3, 20.0, **NUC), cell(4, 100.0, batch=8, **NUC)]
    (answer,) = answered(*jobs)
    assert answer.compared
    assert answer.verdict.startswith("for latency, nuc · CPU (ONNX) · batch 1 is best")


def test_devices_that_measured_different_cells_are_not_compared_and_each_has_its_own_verdict() -> None:
    """All cells with one thread ran on one device, and all cells with two threads on another."""
    jobs = [cell(1, 40.0), cell(2, 160.0, batch=8), cell(3, 20.0, threads=2, **NUC), cell(4, 100.0, batch=8, threads=2, **NUC)]
    (answer,) = answered(*jobs)
    assert not answer.compared
    assert answer.verdict.startswith("the devices are not compared, because they did not measure the same cells (")
    assert "(nuc · CPU (ONNX) did not measure (batch_size=1; threads=1), (batch_size=8; threads=1))" in answer.verdict
    assert "on pi-5 · CPU (ONNX) alone, for latency, batch 1 is best" in answer.verdict
    assert "on nuc · CPU (ONNX) alone, for latency, batch 1 is best" in answer.verdict


def test_threads_alone_that_fell_to_two_devices_name_no_winner_either() -> None:
    (answer,) = answered(cell(1, 40.0), cell(2, 20.0, threads=2, **NUC))
    assert "the devices are not compared" in answer.verdict
    assert "is the fastest" not in answer.verdict


def test_a_cell_that_failed_on_a_device_had_its_turn_there() -> None:
    failed = cell(4, 1.0, batch=8, **NUC)
    assert failed.result is not None
    gone = failed.result.model_copy(update={"status": "failed", "error": "out of memory", "summary": None})
    jobs = [cell(1, 40.0), cell(2, 160.0, batch=8), cell(3, 20.0, **NUC), replace(failed, result=gone, status=JobStatus.FAILED)]
    (answer,) = answered(*jobs)
    assert answer.compared
    assert "for latency, nuc · CPU (ONNX) · batch 1 is best" in answer.verdict


def test_a_cell_that_was_lost_with_its_worker_had_its_turn_there() -> None:
    """A lost job has no result, but its row names the worker that had it."""
    gone: dict[str, Any] = {"result": None, "status": JobStatus.FAILED, "error": "the worker was lost", "worker_id": NUC["worker"]}
    jobs = [cell(1, 40.0), cell(2, 160.0, batch=8), cell(3, 20.0, **NUC), replace(cell(4, 1.0, batch=8, **NUC), **gone)]
    assert figures(*jobs)[3].device == "nuc"
    (answer,) = answered(*jobs)
    assert answer.compared
    assert answer.verdict.startswith("for latency, nuc · CPU (ONNX) · batch 1 is best")


def test_other_models_and_other_input_sizes_are_other_questions() -> None:
    small, large, other = answered(cell(1, 40.0), cell(2, 90.0, side=608), cell(3, 9.0, batch=8, model_sha256="cd" * 32))
    assert len({small.question, large.question, other.question}) == 3
    assert all(one.verdict.startswith("only pi-5 · CPU (ONNX) measured it: ") for one in (small, large, other))


def test_values_that_the_recipe_states_are_a_part_of_the_question_and_the_batch_is_not() -> None:
    jobs = [cell(number, 10.0 * number, batch=batch, options={"values": {"image": (0, high)}}) for number, batch, high in
            ((1, 1, 1), (2, 8, 1), (3, 1, 255), (4, 8, 255))]  # fmt: skip
    low, high = answered(*jobs)
    assert [one.job_id[-1] for one in low.figures] == ["1", "2"]
    assert [one.job_id[-1] for one in high.figures] == ["3", "4"]


def test_works_that_differ_in_more_than_their_batch_are_not_put_together() -> None:
    """Two files have the same name. Their options in the recipe are equal, but the bound values are not."""

    def with_values(number: int, sha256: str) -> JobRecord:
        job = cell(number, 10.0 * number, options={"values": {"image": "images.npz"}})
        assert job.result is not None
        inputs = [{**job.result.runtime["inputs"][0], "values_sha256": sha256}]
        return replace(job, result=job.result.model_copy(update={"runtime": {**job.result.runtime, "inputs": inputs}}))

    assert len(answered(with_values(1, "11" * 32), with_values(2, "22" * 32))) == 2


def test_results_of_older_workers_have_their_batch_in_front() -> None:
    (answer,) = answered(cell(1, 40.0, symbol={}), cell(2, 160.0, batch=8, symbol={}))
    assert answer.batches == 2


def test_a_single_measurement_says_its_figures() -> None:
    (answer,) = answered(cell(1, 40.0))
    assert answer.verdict.startswith("only pi-5 · CPU (ONNX) measured it: 40")
    assert "95 % interval" in answer.verdict
    assert "samples/s" in answer.verdict


def test_nothing_is_ranked_where_nobody_knows_which_bytes_were_measured() -> None:
    (answer,) = answered(cell(1, 40.0, model_sha256=None), cell(2, 160.0, batch=8, model_sha256=None))
    assert "does not say which bytes were measured" in answer.verdict
    assert answer.front == frozenset()


def test_the_page_of_unknown_bytes_has_no_order_by_speed_and_no_trade_off() -> None:
    jobs = [cell(1, 90.0, model_sha256=None), cell(2, 10.0, threads=2, model_sha256=None), cell(3, 50.0, batch=8, model_sha256=None)]
    (answer,) = answered(*jobs)
    assert answer.batches == 2
    assert not is_drawn(answer)
    page = report_md(content_of(jobs))
    assert f"**{MODEL}**, in the order of the campaign:" in page
    assert "the lowest latency first" not in page
    assert page.index("| 1 | pi-5 · CPU (ONNX) · batch 1 · threads 1 | 9") < page.index("| 2 | pi-5 · CPU (ONNX) · batch 1 · threads 2 | ")


def test_the_front_is_said_to_be_of_each_device_where_devices_are_not_compared() -> None:
    jobs = [cell(1, 40.0), cell(2, 160.0, batch=8)]
    alone = report_md(content_of(jobs))
    assert f"**{MODEL}**, the lowest latency first:" in alone
    assert "no other row has both" in alone
    both = report_md(content_of([*jobs, cell(3, 20.0, threads=2, **NUC), cell(4, 100.0, batch=8, threads=2, **NUC)]))
    assert both.count(" ◆ |") == 4, "the slower device has a front, too"
    assert "no other row of its device and compute unit has both a lower latency and more samples per second" in both


def test_the_page_says_how_many_questions_and_jobs_it_leaves_out_in_each_place() -> None:
    one = cell(1, 40.0)
    assert one.result is not None
    jobs = [
        replace(one, job_id=f"{CAMPAIGN}-job-{number}", result=one.result.model_copy(update={"model_sha256": f"{number:064x}"}))
        for number in range(1, 601)
    ]
    content = content_of(jobs, [replace(found, steadiness="not steady") for found in figures(*jobs)])
    assert (len(content["answers"]), content["answers_total"], content["measured_total"]) == (500, 600, 600)
    page = report_md(content)
    assert "- 580 more models or inputs under *All measured jobs*." in page
    assert "\n500 of 600; all are in `results.csv`." in page
    assert "19, 20 and 580 more. Their medians depend on how long one measures." in page
    few = report_md(content_of(jobs[:20], [replace(found, steadiness="not steady") for found in figures(*jobs[:20])]))
    assert "job 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20. Their medians" in few
    assert "more models or inputs" not in few
    assert "all are in `results.csv`" not in few


def test_a_setting_that_was_measured_twice_does_not_win_by_its_luckier_job() -> None:
    (answer,) = answered(cell(1, 10.0), cell(2, 60.0), cell(3, 30.0, threads=2), cell(4, 400.0, batch=8))
    assert "cannot be told apart from batch 1 · threads 2" in answer.verdict.split("; for throughput")[0]


def test_the_cost_of_samples_is_that_of_the_csv() -> None:
    priced = Device(name="pi-5", price_per_hour=0.36)
    job = cell(1, 160.0, batch=8, device=priced)
    (one,) = figures(job)
    assert job.row is not None
    assert one.price is not None
    assert one.cost_per_1000 == pytest.approx(0.36 / 3600 * 1000 / 50, rel=0.02)
    assert one.cost_per_1000 == job.row["CostPer1000Samples"]
    assert one.samples_per_s == pytest.approx(float(job.row["SamplesPerS"] or 0), rel=1e-4)


def test_a_job_whose_batch_nobody_knows_has_one_sample_a_call() -> None:
    workload = inference_workload(model=ModelRef(source="file:///m.onnx", name="m.onnx"), options=EngineOptions())
    (one,) = figures(record(1, result_of(1, 20.0), workload=workload), varied=VARIED)
    assert one.samples_per_s == one.throughput
