from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.reports.hardware.roofline import rooflines
from orchestrator.reports.outcomes.measured import measured
from orchestrator.reports.rows import csv_row
from orchestrator.reports.sheets.registry import sheet_of
from shared.figures import Figure, Outcome
from shared.kinds.hardware import HardwareSpec
from shared.kinds.hardware_figures import FIGURES
from shared.protocol.messages import Result
from shared.workloads import Workload
from tests.unit.orchestrator.reports.bundles import bundle, ended_job, record, result_of

WORKLOAD = Workload(spec=HardwareSpec(), repeats=3)


def result(number: int = 1, worker: str = "worker-abc", triad_by: object = None, **values: float) -> Result:
    figures = tuple(
        Figure.of(name, FIGURES[name], value, repeats=(value * 0.9, value, value * 1.1), n=30, missing="") for name, value in values.items()
    )
    figures += (Figure.of("fp8_tflops", FIGURES["fp8_tflops"], missing="CPUs have no units for fp8"),)
    return result_of(
        number,
        worker_id=worker,
        capability="hardware.cpu",
        model_name="bandwidth+flops+latency",
        model_size=None,
        model_sha256=None,
        summary=None,
        outcome=Outcome(headline="peak_gb_per_s", figures=figures, detail={"tests": {"bandwidth": {"triad_by": triad_by}}}),
        runtime={"threads": {"intra_op": 4}, "warnings": ["copy_gb_per_s was 10 when it was measured last and is 12 now: +20.0 %"]},
    )


def job(number: int = 1, **values: Any) -> Any:
    done = result(number, **values)
    row = csv_row(ended_job(number, compute_unit="hardware.cpu", model_name="bandwidth+flops+latency", kind="hardware"), done)
    return record(number, done, compute_unit="hardware.cpu", workload=WORKLOAD, row=row)


def page_of(*jobs: Any) -> tuple[dict[str, Any], str, list[str]]:
    made = bundle(list(jobs))
    page = sheet_of("hardware").page({worker: entry.label for worker, entry in made.devices.items()}, [])
    for one in jobs:
        page.add(one)
    pictures = list(page.pictures(Path(), "devices"))
    assert all(picture.png.startswith(b"\x89PNG") for picture in pictures)
    content = page.content(made, [(picture.file, picture.shows) for picture in pictures])
    return content, page.markdown(content), [picture.file for picture in pictures]


def test_the_row_holds_the_bandwidth_and_the_speed_of_fp32() -> None:
    row = job(peak_gb_per_s=20.0, fp32_tflops=0.25).row
    assert (row["Kind"], row["GBPerS"], row["Tflops"], row["Repeats"], row["Threads"]) == ("hardware", 20.0, 0.25, 3, 4)
    assert row["InferenceMsMedian"] is None
    assert "measured last" in str(row["Warnings"])


def test_the_ridge_is_where_memory_and_units_limit_equally() -> None:
    one = measured(job(peak_gb_per_s=20.0, fp32_tflops=0.2, fp64_tflops=0.1), {}, [])
    by_precision = {line.precision: line for line in rooflines([one])}
    assert set(by_precision) == {"fp32", "fp64"}
    line = by_precision["fp32"]
    assert line.ridge == pytest.approx(10.0)  # 200 GFLOP/s divided by 20 GB/s
    assert line.tflops_at(1.0) == pytest.approx(0.02)
    assert line.tflops_at(10.0) == pytest.approx(0.2)
    assert line.tflops_at(1_000.0) == pytest.approx(0.2)


def test_the_report_draws_the_roofline_and_says_what_moved_and_what_is_missing() -> None:
    slow, fast = job(peak_gb_per_s=20.0, fp32_tflops=0.2), job(2, worker="worker-b", peak_gb_per_s=10.0, fp32_tflops=0.4)
    content, text, pictures = page_of(slow, fast)
    assert pictures == ["plots/headlines.png", "plots/roofline.png"]
    assert content["rooflines_total"] == 2
    assert content["rooflines"][0]["ridge_operations_per_byte"] == pytest.approx(10.0)
    places = [text.index(part) for part in ("## The answer", "plots/roofline.png", "## The rooflines", "## How it was measured")]
    assert places == sorted(places)
    assert "was 10 when it was measured last and is 12 now: +20.0 %" in text
    assert r"- fp8\_tflops: CPUs have no units for fp8 (in 2 of 2 jobs)" in text, "each reason once, apart from what was measured"


def test_a_job_that_measured_only_one_of_both_has_no_roofline() -> None:
    content, text, pictures = page_of(job(peak_gb_per_s=20.0))
    assert (pictures, content["rooflines"]) == (["plots/headlines.png"], [])
    assert "roofline" not in text


def test_a_device_whose_name_looks_like_a_formula_is_drawn_as_it_is() -> None:
    done = job(peak_gb_per_s=20.0, fp32_tflops=0.2)
    device = done.result.device.model_copy(update={"name": r"$\frac{1}{"})
    _, _, pictures = page_of(record(1, done.result.model_copy(update={"device": device}), workload=WORKLOAD, row=done.row))
    assert "plots/roofline.png" in pictures


def test_the_page_does_not_grow_by_the_figures_of_each_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.reports.outcomes.page.MAX_LISTED", 5)
    monkeypatch.setattr("orchestrator.reports.hardware.page.MAX_LISTED", 5)
    jobs = [job(number, peak_gb_per_s=20.0 + number, fp32_tflops=0.2) for number in range(1, 21)]
    page = sheet_of("hardware").page({}, [])
    for one in jobs:
        page.add(one)
    content = page.content(bundle(jobs), [])
    assert [one["job_id"].rpartition("-")[2] for one in content["answers"][0]["ranking"]] == ["20", "19", "18", "17", "16"]
    assert (content["measured_total"], content["rooflines_total"], len(content["rooflines"])) == (20, 20, 5)
    assert "fp8\\_tflops: CPUs have no units for fp8 (in 20 of 20 jobs)" in page.markdown(content)
    assert not any(one.figures for one in page.jobs)  # type: ignore[attr-defined]


def test_the_report_says_how_triad_was_computed_on_how_many_jobs_and_a_workers_text_adds_no_markup() -> None:
    numpy, torch = job(triad_by="numpy.subtract, with s = -1"), job(2, worker="worker-b", triad_by="torch|*add*\n# x")
    content, text, _ = page_of(numpy, job(3, triad_by="numpy.subtract, with s = -1"), torch)
    assert "- The triad `a = b + s·c` was computed by numpy.subtract, with s = -1 (in 2 of 3 jobs)." in text
    assert r"- The triad `a = b + s·c` was computed by torch\|\*add\* \# x (in 1 of 3 jobs)." in text
    assert len(content["method"]["said"]) == len(page_of(job())[0]["method"]["said"]) + 2, "a result that does not say it adds nothing"
