from __future__ import annotations

import re
from typing import Any

import pytest
from rich.console import Console

from cli.fitting import Fitting
from cli.report_page import ReportPage
from cli.results_table import results_table
from cli.tables import table

CAMPAIGN = "campaign-01m8nh1sp1ffaveyfj"
ROW: dict[str, Any] = {
    "Status": "Complete",
    "FileName": "squeezenet.onnx",
    "DeviceName": "lab-pi",
    "WorkerId": "worker-0123456789ab",
    "ComputeUnits": "CPU (ONNX)",
    "InferenceMsMedian": 5.0975,
    "InferenceMsMedianCiLow": 4.9,
    "InferenceMsMedianCiHigh": 5.3,
    "InferenceMsP90": 6.25,
    "SamplesPerS": 141319.25,
    "LoadMsMedian": 46.0,
    "PeakInferenceRamUsage": 66.4,
    "CostPer1000Samples": 0.125,
    "NoiseGrade": "fair",
    "Inferences": 300,
}
FIGURES = ("squeezenet.onnx", "lab-pi", "CPU (ONNX)", "5.1", "4.9 – 5.3", "6.25", "141319", "46", "66", "0.125", "fair")


def shown(rendered: Any, width: int) -> list[str]:
    console = Console(width=width)
    with console.capture() as captured:
        console.print(Fitting(rendered))
    return [line.rstrip() for line in captured.get().splitlines()]


@pytest.mark.parametrize("width", [200, 120, 80, 60, 40])
def test_every_figure_and_name_is_whole_in_a_terminal_of_any_width(width: int) -> None:
    lines = shown(results_table([ROW])[0], width)
    assert max(map(len, lines)) <= width
    assert "…" not in "".join(lines)
    said = " ".join(" ".join(lines).split())
    assert [figure for figure in FIGURES if figure not in said] == []


def test_a_table_that_fits_is_a_table_and_another_one_is_lines() -> None:
    assert len(shown(results_table([ROW])[0], 140)) == 5
    assert shown(results_table([ROW])[0], 80) == [
        "squeezenet.onnx",
        "  Device lab-pi, Where CPU (ONNX), Median ms 5.1, 95 % interval 4.9 – 5.3, p90",
        "  6.25, Samples/s 141319, Load ms 46, Peak MB 66, Cost/1000 0.125, Noise fair",
    ]


def test_a_row_that_failed_says_so_without_a_heading() -> None:
    failed = {"Status": "Failed", "FileName": "bad.onnx", "ComputeUnits": "CPU (ONNX)", "Error": "not an ONNX file"}
    assert shown(results_table([ROW, failed])[0], 80)[-2:] == ["bad.onnx", "  Where CPU (ONNX), Failed"]


@pytest.mark.parametrize("width", [120, 80, 40])
def test_ids_are_never_cut_or_broken(width: int) -> None:
    jobs = [
        {"job_id": f"{CAMPAIGN}-job-{number}", "status": "failed", "why": "the process ended by itself with the exit code 9 while loading"}
        for number in (1, 2)
    ]
    lines = shown(table(jobs, [("Job", "job_id"), ("Status", "status"), ("Worker", "worker_id"), ("Why", "why")]), width)
    for number in (1, 2):
        assert sum(f"{CAMPAIGN}-job-{number}" in line for line in lines) == 1
    assert max(map(len, lines)) <= width


def test_a_table_without_rows_is_its_headings() -> None:
    assert shown(table([], [("Job", "job_id"), ("Status", "status")]), 80) == ["Job  Status"]


PAGE = """# Which is fastest

|  | device · runtime | median ms | 95 % interval | cost of 1 000 |
| ---: | --- | ---: | --- | ---: |
| 1 | bench-1 · CPU (ONNX) · threads 1 | 0.07003 | 0.0696 – 0.0705 | 8.103e-06 |
| 2 | bench-2 · CPU (ONNX) · threads 2 | 0.07238 | 0.0706 – 0.0727 | 1.701e-05 |
"""


@pytest.mark.parametrize("width", [160, 80, 60, 40])
def test_no_figure_of_a_report_is_cut_in_a_terminal_of_any_width(width: int) -> None:
    console = Console(width=width)
    with console.capture() as captured:
        console.print(ReportPage(PAGE))
    said = " ".join(captured.get().split())
    assert "…" not in said
    assert [
        figure for figure in ("1 bench-1 · CPU", "0.07003", "0.0696 –", "0.0705", "1.701e-05") if figure not in re.sub(r"  +", " ", said)
    ] == []
    assert max(map(len, captured.get().splitlines())) <= width
