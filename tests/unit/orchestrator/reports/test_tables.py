from __future__ import annotations

import csv
import io
import json
from typing import Any

import pandas as pd
import pytest

from orchestrator.reports.columns import COLUMNS, TEXT_COLUMNS
from orchestrator.reports.formats import FORMATS, table_format
from orchestrator.reports.money import Price
from orchestrator.reports.rows import csv_row
from orchestrator.reports.tables import csv_line, neutral, stream_csv, stream_csv_lines
from shared.distributions import Distribution
from shared.errors import InvalidInput
from shared.jobs import JobStatus
from shared.protocol.messages import Device
from shared.repetition import StopRule
from tests.unit.orchestrator.reports.bundles import CAMPAIGN, ended_job, result_of

# This list was typed from the contract and not copied from the code.
HEADER = (
    "Status,JobId,FileName,FileSize,ComputeUnits,DeviceName,Soc,Ram,DeviceOs,LoadMsMedian,LoadMsAverage,LoadMsStdDev,PeakLoadRamUsage,"
    "InferenceMsMedian,InferenceMsAverage,InferenceMsStdDev,PeakInferenceRamUsage,InferenceMsMin,InferenceMsMax,InferenceMsP90,"
    "InferenceMsP95,InferenceMsP99,InferenceMsMedianCiLow,InferenceMsMedianCiHigh,InferenceMsFirst,LoadMsFirst,Inferences,Loads,Repeats,"
    "Outliers,ThroughputPerS,CpuPercent,GpuPercent,GpuTemperatureMaxC,PowerWAverage,EnergyJPerInference,CostPer1000,InputTokens,"
    "OutputTokens,TokensPerS,TtftMsMedian,TtftMsP99,RougeL,TotalTimeS,NoiseGrade,WorkerId,CampaignId,Attempt,CreatedUtc,Error,"
    "Kind,Parameters,RequestsPerS,SuccessRate,ErrorCount,Concurrency,RateAsked,RateAchieved,LatencyScheduledMsP50,LatencyScheduledMsP99,"
    "DispatchDelayMsP99,ClientCeilingPerS,ClientBound,BytesPerS,TpotMsMedian,ItlMsP99,DecodeTokensPerS,PrefillTokensPerS,PeakGpuMemoryMb,"
    "EnergySource,EnergyJPerToken,CostPer1MTokens,Rouge1,Rouge2,RougeLsum,RecallAtK,GBPerS,Tflops,Provider,BatchSize,Threads"
)
OURS = ",ModelSha256,StoppedBecause,Warnings,SamplesPerS,CostPer1000Samples,PricePerHour,PriceSource"
OURS += ",FoundPercent,ExactMatchPercent,RightPercent,ValidJsonPercent,ScoreName,Score,ScoreCiLow,ScoreCiHigh,Scores"
# An earlier version, whose last column was `Error`, wrote these lines.
KEPT = (
    "Complete,campaign-0123456789abcdefgh-job-1,squeezenet.onnx,4956208,CPU (ONNX),pi-5,BCM2712,7.9,Linux,80.000002,80.000002,2e-06,120.5,"
    "5.00174,4.999743,0.147152,130.25,4.751053,5.246271,5.200796,5.229712,,4.969577,5.031039,4.817182,80.0,500,5,5,0,200.01,180.0,,,,,"
    "0.000499974,,,,,,,12.5,fair,worker-abc,campaign-0123456789abcdefgh,1,2026-03-04T05:06:07.000Z,\r\n"
)
KEPT_QUOTED = (
    'Failed,campaign-0123456789abcdefgh-job-2,"a,b.onnx",,CPU (ONNX),,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,'
    'campaign-0123456789abcdefgh,1,2026-03-04T05:06:07.000Z,"two ""quoted"",\r\nlines, and commas"\r\n'
)


def written(rows: list[dict[str, str | int | float | None]]) -> str:
    return b"".join(stream_csv(rows)).decode()


def test_the_header_is_the_contract_s_even_without_rows() -> None:
    assert written([]) == HEADER + OURS + "\r\n"


def test_a_complete_row_opens_in_pandas_with_numbers_as_numbers() -> None:
    result = result_of()
    assert result.summary is not None
    frame = pd.read_csv(io.StringIO(written([csv_row(ended_job(), result)])))
    row = frame.iloc[0]
    assert ",".join(frame.columns) == HEADER + OURS
    assert row["Status"] == "Complete"
    assert row["ComputeUnits"] == "CPU (ONNX)"
    assert row["FileSize"] == 4_956_208
    assert row["Ram"] == 7.9
    assert row["InferenceMsMedian"] == pytest.approx(result.summary.inference.median, abs=1e-6)
    assert row["InferenceMsMedianCiLow"] < row["InferenceMsMedian"] < row["InferenceMsMedianCiHigh"]
    assert (row["Inferences"], row["Loads"], row["Repeats"], row["Attempt"]) == (500, 5, 5, 1)
    assert row["TotalTimeS"] == 12.5
    assert row["CreatedUtc"] == "2026-03-04T05:06:07.000Z"
    assert pd.isna(row["Error"])
    assert pd.isna(row["GpuPercent"])


def test_a_percentile_below_its_floor_is_an_empty_cell() -> None:
    row = csv_row(ended_job(), result_of(repeats=1, inferences=64))
    assert row["InferenceMsP90"] is not None
    assert row["InferenceMsP95"] is None
    assert row["InferenceMsMedianCiLow"] is None  # one process does not show how much processes differ
    assert pd.isna(pd.read_csv(io.StringIO(written([row])))["InferenceMsP95"][0])


def test_cost_is_price_times_time_and_empty_without_a_price() -> None:
    priced = result_of()
    assert priced.summary is not None
    assert priced.summary.throughput_per_s is not None
    row = csv_row(ended_job(), priced)
    # A price of 0.36 an hour is 0.0001 a second, and a thousand inferences take 1000 / throughput seconds.
    assert row["CostPer1000"] == pytest.approx(0.0001 * 1000 / priced.summary.throughput_per_s, rel=1e-4)
    assert csv_row(ended_job(), result_of(device=Device(name="x")))["CostPer1000"] is None
    assert csv_row(ended_job(), result_of(device=Device(name="x", labels={"price_per_hour": "cheap"})))["CostPer1000"] is None
    source = csv_row(ended_job(), result_of(device=Device(name="x", labels={"price_per_hour": "1_5"})))["PriceSource"]
    assert source == "the label price_per_hour is '1_5', which is no price: write a number of 0 or more, such as 1.50"


def test_the_cost_of_samples_counts_the_batch_and_says_where_the_price_comes_from() -> None:
    labelled = {"price_per_hour": "99"}
    priced = result_of(device=Device(name="x", price_per_hour=0.36, labels=labelled), runtime={"batch_size": 8})
    assert priced.summary is not None
    assert priced.summary.throughput_per_s is not None
    row = csv_row(ended_job(), priced)
    assert row["SamplesPerS"] == pytest.approx(8 * priced.summary.throughput_per_s, rel=1e-5)
    assert row["CostPer1000"] == pytest.approx(0.1 / priced.summary.throughput_per_s, rel=1e-4)
    assert row["CostPer1000Samples"] == pytest.approx(0.1 / 8 / priced.summary.throughput_per_s, rel=1e-4)
    assert (row["PricePerHour"], row["PriceSource"]) == (0.36, "FLEETMARK_WORKER_PRICE_PER_HOUR"), "the setting counts before the label"
    by_label = csv_row(ended_job(), result_of(device=Device(name="x", labels=labelled)))
    assert (by_label["PricePerHour"], by_label["PriceSource"]) == (99, "the label price_per_hour")
    unpriced = csv_row(ended_job(), result_of(device=Device(name="x")))
    assert [unpriced[name] for name in ("CostPer1000", "CostPer1000Samples", "PricePerHour", "PriceSource")] == [None] * 4


def test_a_cost_keeps_its_digits_however_small_it_is_and_is_never_infinite() -> None:
    """The device does a million samples each second and costs 0.01 an hour."""
    assert Price(0.01, "a label").of_1000(1e6) == pytest.approx(0.01 / 3600 * 1000 / 1e6, rel=1e-9)
    assert Price(1.7e308, "a label").of_1000(0.05) is None
    row = csv_row(ended_job(), result_of(1, 5_000.0, inferences=2, device=Device(name="x", labels={"price_per_hour": "1.7e308"})))
    assert (row["PricePerHour"], row["CostPer1000"], row["CostPer1000Samples"]) == (1.7e308, None, None)


def test_a_job_that_failed_on_a_device_has_a_row_with_its_reason_and_no_figures() -> None:
    failed = result_of(status="failed", error="operator Foo is not implemented", summary=None)
    row = csv_row(ended_job(status=JobStatus.FAILED), failed)
    assert (row["Status"], row["Error"], row["DeviceName"]) == ("Failed", "operator Foo is not implemented", "pi-5")
    assert all(row[name] is None for name in COLUMNS if "Ms" in name)


def test_a_cancelled_job_that_no_device_saw_has_a_row() -> None:
    row = csv_row(ended_job(status=JobStatus.CANCELLED, compute_unit="GPU (ONNX)", error="cancelled by a user"))
    assert (row["Status"], row["ComputeUnits"], row["Error"]) == ("Cancelled", "GPU (ONNX)", "cancelled by a user")
    assert row["DeviceName"] is None


def test_a_job_that_has_not_ended_has_no_row() -> None:
    with pytest.raises(ValueError, match="is running"):
        csv_row(ended_job(status=JobStatus.RUNNING))


@pytest.mark.parametrize(
    "text", ["=HYPERLINK(1)", "+1+1", "-2+3", "@SUM(A1)", "\tx", "\rx", "-", "\n=cmd|' /C calc'!A0", " =1+1", "\u00a0\u3000@x", "\n"]
)
def test_a_cell_that_a_spreadsheet_would_run_is_made_harmless(text: str) -> None:
    assert neutral(text) == "'" + text


@pytest.mark.parametrize("text", ["-5", "+3.25", "-1e-9", "plain", "", "a=b", "'=1", " -5", " plain", "-5\n"])
def test_numbers_and_plain_text_are_left_as_they_are(text: str) -> None:
    assert neutral(text) == text


def test_formulas_in_names_and_errors_are_neutral_in_csv_and_untouched_in_json() -> None:
    evil = "=cmd|' /C calc'!A0"
    row = csv_row(ended_job(model_name=evil), result_of(status="failed", error='@x "quoted",\nnext line', summary=None))
    read = next(csv.DictReader(io.StringIO(written([row]), newline="")))
    assert read["FileName"] == "'" + evil
    assert read["Error"] == '\'@x "quoted",\nnext line'
    assert json.loads(b"".join(FORMATS["json"].stream([row])))[0]["FileName"] == evil


def test_only_the_named_columns_hold_text() -> None:
    rows = [csv_row(ended_job(), result_of()), csv_row(ended_job(status=JobStatus.FAILED, error="x"))]
    assert {name for row in rows for name, cell in row.items() if isinstance(cell, str)} <= TEXT_COLUMNS


def test_json_and_jsonl_hold_the_same_rows_across_chunks() -> None:
    rows = [csv_row(ended_job(number), None if number % 2 else result_of(number)) for number in range(1, 7)]
    rows *= 200  # the table then has 1 200 rows, which are three chunks
    assert json.loads(b"".join(FORMATS["json"].stream(rows))) == rows
    assert [json.loads(line) for line in b"".join(FORMATS["jsonl"].stream(rows)).splitlines()] == rows
    assert json.loads(b"".join(FORMATS["json"].stream([]))) == []
    assert written(rows).count("\r\n") == 1201


def test_a_row_stored_before_a_column_existed_is_still_written() -> None:
    assert written([{"Status": "Complete", "JobId": "a"}]).splitlines()[1] == "Complete,a" + "," * (len(COLUMNS) - 2)


def test_figures_that_are_not_finite_become_empty() -> None:
    result = result_of()
    assert result.summary is not None
    odd: Distribution = result.summary.inference.model_copy(update={"mean": float("inf"), "stddev": float("nan")})
    row = csv_row(ended_job(), result.model_copy(update={"summary": result.summary.model_copy(update={"inference": odd})}))
    assert row["InferenceMsAverage"] is None
    assert row["InferenceMsStdDev"] is None


def test_a_format_that_cannot_be_written_says_which_can() -> None:
    with pytest.raises(InvalidInput, match="did you mean 'json"):
        table_format("jsonI")


def test_the_campaign_is_named_in_every_row() -> None:
    assert csv_row(ended_job(), result_of())["CampaignId"] == CAMPAIGN


def test_stored_lines_are_the_same_file_as_rows() -> None:
    rows = [csv_row(ended_job(), result_of()), csv_row(ended_job(status=JobStatus.FAILED, error="two\nlines, ünïcode"))]
    assert b"".join(stream_csv_lines(map(csv_line, rows))) == b"".join(stream_csv(rows))


def test_lines_that_were_kept_under_the_shorter_header_open_with_each_value_in_its_column() -> None:
    new = csv_row(ended_job(3), result_of(3))
    frame = pd.read_csv(io.BytesIO(b"".join(stream_csv_lines([KEPT, KEPT_QUOTED, csv_line(new)]))))
    assert ",".join(frame.columns) == HEADER + OURS
    assert list(frame["JobId"].str[-5:]) == ["job-1", "job-2", "job-3"]
    assert frame["InferenceMsMedian"][0] == 5.00174
    assert list(frame["CreatedUtc"]) == ["2026-03-04T05:06:07.000Z"] * 3
    assert frame["Error"][1] == 'two "quoted",\r\nlines, and commas'
    assert list(frame["Kind"].fillna("")) == ["", "", "inference"]


def test_a_row_says_what_ran_and_not_what_was_asked() -> None:
    runtime = {"provider": "CUDAExecutionProvider", "batch_size": 16, "threads": {"intra_op": 4, "inter_op": 1}, "assumed_dims": {"seq": 1}}
    asked = ended_job(parameters={"batch_size": "8"}, model_sha256="cd" * 32)
    row = csv_row(asked, result_of(runtime=runtime | {"warnings": ["image[2] became 1", "and so did image[3]"]}))
    assert {name: row[name] for name in ("Kind", "Parameters", "Provider", "BatchSize", "Threads", "ModelSha256", "Warnings")} == {
        "Kind": "inference",
        "Parameters": "batch_size=8; seq=1 (assumed)",
        "Provider": "CUDAExecutionProvider",
        "BatchSize": 16,
        "Threads": 4,
        "ModelSha256": "ab" * 32,
        "Warnings": "image[2] became 1; and so did image[3]",
    }


@pytest.mark.parametrize(
    ("runtime", "expected"),
    [
        ({}, (None, None, None)),
        ({"providers": ["CPUExecutionProvider"], "intra_op_threads": 0}, ("CPUExecutionProvider", None, None)),
        ({"providers": ["CUDAExecutionProvider", "CPUExecutionProvider"], "intra_op_threads": 3}, (None, None, 3)),
        ({"provider": 1, "batch_size": "8", "threads": [4]}, (None, None, None)),
        ({"provider": "CPUExecutionProvider", "batch_size": None, "threads": {"intra_op": 0}}, ("CPUExecutionProvider", None, None)),
    ],
    ids=["nothing", "an older worker on the CPU", "an older worker on a GPU", "nonsense", "unknown"],
)
def test_what_a_runtime_did_not_say_is_an_empty_cell(runtime: dict[str, Any], expected: tuple[object, ...]) -> None:
    row = csv_row(ended_job(), result_of(runtime=runtime))
    assert (row["Provider"], row["BatchSize"], row["Threads"]) == expected


def test_a_job_that_no_device_saw_is_told_apart_too() -> None:
    row = csv_row(ended_job(status=JobStatus.CANCELLED, parameters={"batch_size": "8", "threads": "2"}, model_sha256="cd" * 32))
    assert (row["Kind"], row["Parameters"], row["ModelSha256"]) == ("inference", "batch_size=8; threads=2", "cd" * 32)


def test_a_stop_rule_that_was_not_met_is_in_the_row() -> None:
    result = result_of()
    assert result.summary is not None
    spent = result.model_copy(update={"summary": result.summary.model_copy(update={"stopped_because": "repeats spent: 5 of 5"})})
    said = csv_row(ended_job(stop=StopRule(precision=0.0001)), spent)["StoppedBecause"]
    assert str(said).startswith("precision not reached: the 95 % interval is ±")
    assert csv_row(ended_job(), result)["StoppedBecause"] is None
