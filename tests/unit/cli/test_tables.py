from __future__ import annotations

import re
from typing import Any

import pytest
from rich.console import Console

from cli.results_table import results_table
from cli.tables import local_time, table, told_apart, work_name

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
        *("squeezenet.onnx", "lab-pi", "CPU (ONNX)", "5.1", "4.9 – 5.3", "6.25", "46", "66", "fair")
    ]
    assert notes == ["no p99: 300 inferences are too few; it takes 662 (inferences × repeats)"]


def test_a_missing_percentile_names_its_jobs_unless_no_job_has_it() -> None:
    def notes(*rows: dict[str, Any]) -> list[str]:
        return results_table([COMPLETE | row for row in rows])[1]

    few = "no p99: 300 inferences are too few; it takes 662 (inferences × repeats)"
    enough = {"FileName": "b.onnx", "InferenceMsP99": 7.0, "Inferences": 700}
    assert notes({}, {"FileName": "b.onnx"}) == [few]
    assert notes({}, enough) == [f"squeezenet.onnx: {few}"]
    assert notes({}, {"DeviceName": "other-pi"}, enough) == [f"squeezenet.onnx: {few}"]
    assert notes({}, {"DeviceName": "other-pi"} | enough | {"FileName": "squeezenet.onnx"}) == [f"squeezenet.onnx on lab-pi: {few}"]
    many = [{"FileName": f"{letter}.onnx"} for letter in "cdefg"]
    assert notes(*many[:3], enough) == [f"c.onnx, d.onnx and e.onnx: {few}"]
    assert notes(*many, enough) == [f"c.onnx, d.onnx, e.onnx and 2 others: {few}"]
    assert notes({}, {"FileName": "b.onnx", "Inferences": 200}) == [
        f"squeezenet.onnx: {few}",
        f"b.onnx: {few.replace('300', '200')}",
    ]


def test_a_kind_of_work_without_inferences_shows_its_own_figures_and_misses_no_percentile() -> None:
    row = {"Kind": "hardware", "Status": "Complete", "FileName": "bandwidth+flops", "DeviceName": "lab-pi", "ComputeUnits": "hardware.cpu"}
    made, notes = results_table([row | {"GBPerS": 13.352, "Tflops": 0.003656, "TotalTimeS": 20.4, "NoiseGrade": "quiet"}])
    headings, line = (next(line for line in _text(made).splitlines() if word in line) for word in ("Noise", "lab-pi"))
    assert [cell.strip() for cell in headings.strip("┃").split("┃")] == [
        *("What", "Device", "Where", "Memory GB/s", "fp32 GFLOP/s", "Took s", "Noise")
    ]
    assert [cell.strip() for cell in line.strip("│").split("│")] == [
        *("bandwidth+flops", "lab-pi", "hardware.cpu", "13.4", "3.66", "20", "quiet")
    ]
    assert notes == []
    made, _ = results_table([row | {"Kind": "of a newer version", "RequestsPerS": 310.0, "NoiseGrade": "quiet"}])
    assert "Requests/s" in _text(made)


@pytest.mark.parametrize(
    ("figures", "shown"),
    [
        ({"RecallAtK": "0.7991"}, {"Recall": "0.799"}),
        ({"TokensPerS": "682.667", "TtftMsMedian": "21.06"}, {"Tokens/s": "683", "First token ms": "21.1"}),
    ],
)
def test_a_load_shows_what_its_service_is_judged_by(figures: dict[str, str], shown: dict[str, str]) -> None:
    load = {"Kind": "load", "Status": "Complete", "FileName": "server", "RequestsPerS": "585", "SuccessRate": "100", "NoiseGrade": "quiet"}
    text = _text(results_table([load | figures])[0]).splitlines()
    headings, line = (next(line for line in text if word in line) for word in ("Requests/s", "server"))
    cells = dict(zip((one.strip() for one in headings.split("┃")), (one.strip() for one in line.split("│")), strict=True))
    assert shown.items() <= cells.items()
    assert not {"Recall", "Tokens/s", "First token ms"} - shown.keys() & cells.keys()


def test_each_figure_of_a_scorer_has_a_column_whoever_brought_the_scorer() -> None:
    row = {"Kind": "generation", "Status": "Complete", "FileName": "tiny", "TokensPerS": 250.0, "Rouge1": 31.26, "NoiseGrade": "quiet"}
    judged = row | {"Scores": "rouge1=31.26; found_percent=75; my_score=-0.125"}
    text = _text(results_table([judged, row | {"FileName": "other", "Scores": None}])[0]).splitlines()
    wanted = [line for line in text if any(word in line for word in ("Tokens/s", "tiny", "other"))]
    cells = [[one.strip() for one in re.split("[┃│]", line)] for line in wanted]
    shown = [dict(zip(cells[0], line, strict=True)) for line in cells[1:]]
    assert [(one["ROUGE-1"], one["Found %"], one["My score"]) for one in shown] == [("31.3", "75", "-0.125"), ("31.3", "—", "—")]
    assert "Rouge1" not in cells[0]
    odd = row | {"Scores": "a=b=1; c=2", "ScoreName": "a=b", "Score": 1.0}
    assert "A=b" in _text(results_table([odd])[0])


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


def test_the_jobs_of_a_sweep_over_the_clients_of_a_service_are_told_apart() -> None:
    assert work_name("redis", {}, {"concurrent_clients": "4"}) == "redis, concurrent_clients 4"
    assert work_name("yolo.onnx", {"threads": 1}, {"threads": "1", "inferences": "50"}) == "yolo.onnx, threads 1, inferences 50"
    assert work_name("yolo.onnx", {}, {"threads": "default"}) == "yolo.onnx, threads default"


def test_sizes_and_values_of_inputs_are_named_as_in_the_recipe() -> None:
    options = {"dims": {"sequence": 16}, "values": {"ids": [0, 999], "use_cache": False}, "shapes": {"image": [1] * 40}}
    name = work_name("text.onnx", options)
    assert name.startswith("text.onnx, dims.sequence 16, values.ids [0, 999], values.use_cache false, shapes.image [1, 1, ")
    assert name.endswith("…"), "a long value is cut"
    assert "{" not in name


def _first_cells(made: Any, cells: int) -> list[list[str]]:
    lines = [line for line in _text(made).splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.strip("│").split("│")][:cells] for line in lines]


def _headings(made: Any) -> list[str]:
    return [str(column.header) for column in made.columns]


def test_the_swept_values_of_a_sweep_have_columns_and_what_is_the_same_everywhere_has_none() -> None:
    rows = [
        COMPLETE | {"Parameters": f"batch_size={batch}; threads={threads}; graph=all", "SamplesPerS": 12.345 * batch}
        for batch in (1, 8)
        for threads in (1, 2)
    ]
    made, _ = results_table(rows)
    assert _headings(made)[:4] == ["Model", "batch size", "threads", "Device"]
    assert _first_cells(made, 3) == [["squeezenet.onnx", batch, threads] for batch in "18" for threads in "12"]
    column = _headings(made).index("Samples/s")
    assert [cells[column] for cells in _first_cells(made, column + 1)] == ["12.3", "12.3", "98.8", "98.8"]


def test_values_that_cannot_be_told_apart_for_sure_stay_with_the_model() -> None:
    rows = [COMPLETE | {"Parameters": f'values.text="a; b={number}"'} for number in (1, 2)]
    assert _headings(results_table(rows)[0])[1] == "Device"
    assert [model for (model,) in _first_cells(results_table(rows)[0], 1)] == [
        f'squeezenet.onnx, values.text="a; b={number}"' for number in (1, 2)
    ]


def test_inferences_that_a_recipe_sets_for_each_model_need_no_column_and_an_assumed_size_is_said() -> None:
    rows = [
        COMPLETE | {"Parameters": "inferences=24", "FileName": "a.onnx"},
        COMPLETE | {"Parameters": "inferences=11; batch=1 (assumed)", "FileName": "b.onnx"},
    ]
    made, _ = results_table(rows)
    assert _headings(made)[:3] == ["Model", "batch", "Device"]
    made, notes = results_table([COMPLETE | {"Parameters": "batch=1 (assumed)"}])
    assert "batch" not in _headings(made)
    assert "squeezenet.onnx: batch=1 (assumed)" in notes


def test_a_cost_has_a_column_and_the_source_of_its_price() -> None:
    priced = {"CostPer1000Samples": 0.00204, "PricePerHour": 0.4, "PriceSource": "FLEETMARK_WORKER_PRICE_PER_HOUR"}
    made, notes = results_table([COMPLETE | priced, COMPLETE])
    column = _headings(made).index("Cost/1000")
    assert [cells[column] for cells in _first_cells(made, column + 1)] == ["0.00204", "—"]
    assert notes[-1] == "Cost/1000 is the device's price for 1 000 samples: 0.4 an hour by FLEETMARK_WORKER_PRICE_PER_HOUR"
    assert "Cost/1000" not in _headings(results_table([COMPLETE])[0])


def test_two_prices_name_their_devices() -> None:
    priced = {"CostPer1000Samples": 0.00204, "PriceSource": "the label"}
    dear = [COMPLETE | priced | {"PricePerHour": 0.4, "DeviceName": f"gpu-{number}", "WorkerId": f"worker-{number}"} for number in range(5)]
    cheap = COMPLETE | priced | {"PricePerHour": 0.1, "DeviceName": "pi-5", "WorkerId": "worker-pi"}
    _, notes = results_table([*dear, cheap])
    assert notes[-1].endswith("0.4 an hour by the label of gpu-0, gpu-1, gpu-2 and 2 others, 0.1 an hour by the label of pi-5")


def test_a_price_that_is_none_is_named_with_its_device_and_is_no_price() -> None:
    said = "the label price_per_hour is '1,50', which is no price: write a number of 0 or more, such as 1.50"
    priced = {"CostPer1000Samples": 0.00204, "PriceSource": "the label price_per_hour", "PricePerHour": 0.4, "DeviceName": "pi"}
    unusable = {"PriceSource": said, "DeviceName": "mac", "WorkerId": "worker-mac"}
    _, notes = results_table([COMPLETE | priced, COMPLETE | unusable])
    assert notes[-2:] == [
        "Cost/1000 is the device's price for 1 000 samples: 0.4 an hour by the label price_per_hour",
        f"mac: {said}",
    ]
    _, notes = results_table([COMPLETE | unusable])
    assert notes[-1] == f"mac: {said}"


def test_two_models_of_one_name_are_told_apart_by_their_hashes_and_one_needs_none() -> None:
    other = COMPLETE | {"FileName": "x.onnx", "ModelSha256": "cc" * 32}
    rows = [COMPLETE | {"ModelSha256": "aa" * 32}, COMPLETE | {"ModelSha256": "bb" * 32}, other]
    assert [model for (model,) in _first_cells(results_table(rows)[0], 1)] == [
        "squeezenet.onnx (sha256 aaaaaaaa)",
        "squeezenet.onnx (sha256 bbbbbbbb)",
        "x.onnx",
    ]


def test_two_devices_of_one_name_are_told_apart() -> None:
    rows = [COMPLETE | {"WorkerId": f"worker-{number}abcdef"} for number in (1, 2)]
    assert [device for _, device in _first_cells(results_table(rows)[0], 2)] == ["lab-pi (worker-1abc)", "lab-pi (worker-2abc)"]
    assert [device for _, device in _first_cells(results_table(rows[:1])[0], 2)] == ["lab-pi"]


def test_what_makes_a_figure_mean_less_is_said_below_the_table() -> None:
    said = "precision not reached: the 95 % interval is ±4.00% of the median"
    notes = results_table([COMPLETE | {"Warnings": "image[2] became 1", "StoppedBecause": said}])[1]
    assert notes[:-1] == ["squeezenet.onnx: image[2] became 1", f"squeezenet.onnx: {said}"]


def test_a_list_of_jobs_says_why_one_failed_and_what_another_waits_for() -> None:
    jobs = [
        {"worker_id": "worker-1abc", "device": "lab", "error": "no memory", "waiting_for": None},
        {"worker_id": "worker-2abc", "device": "lab", "error": None, "waiting_for": None},
        {"worker_id": None, "device": None, "error": None, "waiting_for": "waiting for a worker with cpu.onnx"},
    ]
    assert [(job["device"], job["why"]) for job in told_apart(jobs)] == [
        ("lab (worker-1abc)", "no memory"),
        ("lab (worker-2abc)", None),
        (None, "waiting for a worker with cpu.onnx"),
    ]
    assert told_apart([{"worker_id": "worker-1", "status": "running"}])[0]["device"] is None, "an orchestrator that names no device"
