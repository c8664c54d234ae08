from __future__ import annotations

from typing import Any

from rich.console import Console

from cli.tables import local_time, results_table, table, work_name

COMPLETE: dict[str, Any] = {
    "Status": "Complete",
    "FileName": "squeezenet.onnx",
    "DeviceName": "lab-pi",
    "ComputeUnits": "CPU (ONNX)",
    "InferenceMsMedian": 5.0975,
    "InferenceMsMedianCiLow": 4.9,
    "InferenceMsMedianCiHigh": 5.3,
    "InferenceMsP90": 6.25,
    "InferenceMsP99": None,
    "LoadMsMedian": 46.0,
    "PeakInferenceRamUsage": 66.4,
    "NoiseGrade": "fair",
    "Inferences": 300,
}


def _text(rendered: Any) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(rendered)
    return captured.get()


def test_a_result_shows_what_the_sample_allows_and_says_what_it_does_not() -> None:
    made, notes = results_table([COMPLETE])
    line = next(line for line in _text(made).splitlines() if "squeezenet" in line)
    assert [cell.strip() for cell in line.strip("│").split("│")] == [
        *("squeezenet.onnx", "lab-pi", "CPU (ONNX)", "5.1", "4.9 – 5.3", "6.25", "—", "46", "66", "fair")
    ]
    assert notes == ["— in p99: 300 inferences are too few; it takes 662 (inferences × repeats)"]


def test_a_failed_job_shows_its_state_and_its_reason() -> None:
    made, notes = results_table([{"Status": "Failed", "FileName": "bad.onnx", "ComputeUnits": "CPU (ONNX)", "Error": "not an ONNX file"}])
    assert "Failed" in _text(made)
    assert notes == ["bad.onnx: not an ONNX file"]


def test_the_same_note_is_given_once() -> None:
    assert len(results_table([COMPLETE, COMPLETE])[1]) == 1


def test_what_looks_like_markup_in_data_is_shown_as_it_is() -> None:
    shown = _text(table([{"name": "[bold]model[/] [/nothing]", "status": "running"}], [("Name", "name"), ("Status", "status")]))
    assert "[bold]model[/] [/nothing]" in shown
    assert "[/x]" in _text(results_table([COMPLETE | {"FileName": "[/x]"}])[0])


def test_a_key_leads_down_and_what_is_missing_is_a_dash() -> None:
    shown = _text(table([{"job_breakdown": {"failed": 3}}], [("Failed", "job_breakdown.failed"), ("Name", "name")]))
    assert shown.splitlines()[1].split() == ["3", "—"]


def test_times_are_shown_in_this_machines_zone() -> None:
    assert local_time("2026-03-01T12:00:00+00:00") == local_time(1772366400)
    assert local_time("not a time") == "not a time"


def test_the_jobs_of_a_sweep_are_told_apart_by_their_options() -> None:
    assert work_name("yolo.onnx", {"threads": 1, "batch_size": 4}) == "yolo.onnx, threads 1, batch_size 4"
    assert work_name("yolo.onnx", {}) == work_name("yolo.onnx", None) == "yolo.onnx"
