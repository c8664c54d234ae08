"""Defines the columns of the CSV, and fills one row per job from its result.

A row is a dict of plain JSON values (`None` for an empty cell). So it can be stored with the result and streamed without reading the
result again. Times are in milliseconds, `Peak…` in MB (2^20 bytes), `Ram` in GB (2^30 bytes), and `FileSize` in bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from orchestrator.reports.money import price_of
from orchestrator.reports.parameters import assumed_dimensions, written
from orchestrator.reports.precision import precision_said
from shared.capabilities import LABELS, label_of
from shared.distributions import Distribution
from shared.jobs import JobStatus
from shared.measurements import Summary
from shared.protocol.messages import Device, Result
from shared.repetition import StopRule

Cell = str | int | float | None
Row = dict[str, Cell]

# People use the columns by name and by position, so a new column must go to the end.
COLUMNS: tuple[str, ...] = (
    *("Status", "JobId", "FileName", "FileSize", "ComputeUnits", "DeviceName", "Soc", "Ram", "DeviceOs"),
    *("LoadMsMedian", "LoadMsAverage", "LoadMsStdDev", "PeakLoadRamUsage"),
    *("InferenceMsMedian", "InferenceMsAverage", "InferenceMsStdDev", "PeakInferenceRamUsage"),
    *("InferenceMsMin", "InferenceMsMax", "InferenceMsP90", "InferenceMsP95", "InferenceMsP99"),
    *("InferenceMsMedianCiLow", "InferenceMsMedianCiHigh", "InferenceMsFirst", "LoadMsFirst"),
    *("Inferences", "Loads", "Repeats", "Outliers", "ThroughputPerS", "CpuPercent", "GpuPercent"),
    *("GpuTemperatureMaxC", "PowerWAverage", "EnergyJPerInference", "CostPer1000"),
    *("InputTokens", "OutputTokens", "TokensPerS", "TtftMsMedian", "TtftMsP99", "RougeL"),
    *("TotalTimeS", "NoiseGrade", "WorkerId", "CampaignId", "Attempt", "CreatedUtc", "Error"),
    # From here on, the columns serve every kind of work. An inference fills only a few of them.
    *("Kind", "Parameters", "RequestsPerS", "SuccessRate", "ErrorCount", "Concurrency", "RateAsked", "RateAchieved"),
    *("LatencyScheduledMsP50", "LatencyScheduledMsP99", "DispatchDelayMsP99", "ClientCeilingPerS", "ClientBound", "BytesPerS"),
    *("TpotMsMedian", "ItlMsP99", "DecodeTokensPerS", "PrefillTokensPerS", "PeakGpuMemoryMb", "EnergySource", "EnergyJPerToken"),
    *("CostPer1MTokens", "Rouge1", "Rouge2", "RougeLsum", "RecallAtK", "GBPerS", "Tflops", "Provider", "BatchSize", "Threads"),
    *("ModelSha256", "StoppedBecause", "Warnings"),
    *("SamplesPerS", "CostPer1000Samples", "PricePerHour", "PriceSource"),
)
# The columns that can hold text. Some of it is untrusted: names of devices and files, errors.
TEXT_COLUMNS = frozenset(
    {
        *("Status", "JobId", "FileName", "ComputeUnits", "DeviceName", "Soc", "DeviceOs"),
        *("NoiseGrade", "WorkerId", "CampaignId", "CreatedUtc", "Error"),
        *("Kind", "Parameters", "ClientBound", "EnergySource", "Provider", "ModelSha256", "StoppedBecause", "Warnings", "PriceSource"),
    }
)
# The columns that hold whole numbers.
COUNT_COLUMNS = frozenset(
    {
        *("FileSize", "Inferences", "Loads", "Repeats", "Outliers", "InputTokens", "OutputTokens", "Attempt"),
        *("ErrorCount", "Concurrency", "BatchSize", "Threads"),
    }
)
INFERENCE = "inference"  # the only kind of work today
STATUS_WORDS = {JobStatus.COMPLETE: "Complete", JobStatus.FAILED: "Failed", JobStatus.CANCELLED: "Cancelled"}
_EMPTY: Row = dict.fromkeys(COLUMNS)


@dataclass(frozen=True)
class EndedJob:
    """Holds what the orchestrator knows about a job that has ended, with or without a result.

    Attributes:
        compute_unit: the requested capability or label.
        recorded_at: when the end was recorded, by the orchestrator's clock.
        model_sha256: the hash according to the recipe or the upload. The hash that the device measured is in its result.
        parameters: the values that distinguish this job from others of its campaign, by name.
        stop: the stop rule of its repeats, if it has one.
    """

    job_id: str
    campaign_id: str
    status: JobStatus
    compute_unit: str
    model_name: str
    attempt: int
    recorded_at: datetime
    model_size: int | None = None
    worker_id: str | None = None
    error: str = ""
    model_sha256: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    stop: StopRule | None = None


def csv_row(job: EndedJob, result: Result | None = None) -> Row:
    """Return the row of a job that has ended. Without a result (for example if it was cancelled), the measured cells are empty.

    Raises:
        ValueError: the job has not ended.
    """
    if job.status not in STATUS_WORDS:
        raise ValueError(f"{job.job_id} is {job.status.value}: a row is made when a job has ended")
    row: Row = {
        **_EMPTY,
        "Status": STATUS_WORDS[job.status],
        "JobId": job.job_id,
        "FileName": job.model_name,
        "FileSize": job.model_size,
        "ComputeUnits": LABELS.get(job.compute_unit, job.compute_unit),
        "WorkerId": job.worker_id,
        "CampaignId": job.campaign_id,
        "Attempt": job.attempt,
        "CreatedUtc": utc_text(job.recorded_at),
        "Error": job.error or None,
        "Kind": INFERENCE,
        "Parameters": written(job.parameters) or None,
        "ModelSha256": job.model_sha256,
    }
    if result is not None:
        row |= _of_result(result)
        row |= _of_runtime(result.runtime)
        row["Parameters"] = written({**job.parameters, **assumed_dimensions(result.runtime)}) or None
        if result.summary is not None and job.status is JobStatus.COMPLETE:
            row |= _of_summary(result.summary)
            row |= _of_rates(result.summary.throughput_per_s, _count(result.runtime.get("batch_size")), result.device)
            row["StoppedBecause"] = precision_said(result.summary, job.stop) or None
    return row


def whole_row(row: Row) -> Row:
    """Return a row with all present columns, in order. A row that an earlier version stored lacks the newer columns."""
    return {name: row.get(name) for name in COLUMNS}


def utc_text(moment: datetime) -> str:
    """Return a moment as ISO 8601 with `Z` and milliseconds. Such texts sort by time, and spreadsheets can read them."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _of_result(result: Result) -> Row:
    device = result.device
    row: Row = {
        "ComputeUnits": label_of(result.capability) if result.capability in LABELS else result.capability,
        "DeviceName": device.name,
        "Soc": device.soc or None,
        "Ram": _rounded(device.ram_gb, 2),
        "DeviceOs": device.os or None,
        "TotalTimeS": _rounded(result.timings_s.get("total", result.ended_at - result.started_at), 3),
        "NoiseGrade": result.noise.grade if result.noise else None,
        "WorkerId": result.worker_id,
        "Attempt": result.attempt,
    }
    if result.model_size is not None:
        row["FileSize"] = result.model_size
    if result.error:
        row["Error"] = result.error
    if result.model_sha256:
        row["ModelSha256"] = result.model_sha256
    return row


def _of_runtime(runtime: Mapping[str, Any]) -> Row:
    """Return the cells that the runtime reports about itself. They may differ from what was requested."""
    return {
        "Provider": provider_of(runtime),
        "BatchSize": _count(runtime.get("batch_size")),
        "Threads": threads_of(runtime),
        "Warnings": "; ".join(warnings_of(runtime)) or None,
    }


def provider_of(runtime: Mapping[str, Any]) -> str | None:
    """Return the execution provider that most of the model ran on, or None if the runtime did not report it."""
    named = runtime.get("provider")
    if isinstance(named, str):
        return named or None
    listed = runtime.get("providers")  # older workers send a list; with several providers, it is not known which one did the work
    return str(listed[0]) if isinstance(listed, list) and len(listed) == 1 else None


def threads_of(runtime: Mapping[str, Any]) -> int | None:
    """Return how many threads worked within one operator, or None if the runtime did not report it."""
    threads = runtime.get("threads")
    if isinstance(threads, dict):
        return _count(threads.get("intra_op")) or None
    return _count(runtime.get("intra_op_threads")) or None  # from older workers, where 0 means "the runtime's choice"


def warnings_of(runtime: Mapping[str, Any]) -> list[str]:
    """Return the warnings of the worker, for example that a free dimension of an image became 1."""
    warnings = runtime.get("warnings")
    return [str(one) for one in warnings] if isinstance(warnings, list) else []


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else None


def _of_summary(summary: Summary) -> Row:
    load, inference = summary.load, summary.inference
    interval = inference.median_ci
    return {
        "LoadMsMedian": _ms(load.median),
        "LoadMsAverage": _ms(load.mean),
        "LoadMsStdDev": _ms(load.stddev),
        "LoadMsFirst": _ms(load.first),
        "PeakLoadRamUsage": _rounded(summary.load_peak_mb, 3),
        **_of_inferences(inference),
        "InferenceMsMedianCiLow": _ms(interval.low) if interval else None,
        "InferenceMsMedianCiHigh": _ms(interval.high) if interval else None,
        "PeakInferenceRamUsage": _rounded(summary.inference_peak_mb, 3),
        "Inferences": inference.n,
        "Loads": load.n,
        "Repeats": len(summary.repeats),
        "Outliers": inference.outliers,
        "ThroughputPerS": _rounded(summary.throughput_per_s, 3),
        "CpuPercent": _rounded(summary.cpu_percent, 1),
    }


def _of_inferences(inference: Distribution) -> Row:
    return {
        "InferenceMsMedian": _ms(inference.median),
        "InferenceMsAverage": _ms(inference.mean),
        "InferenceMsStdDev": _ms(inference.stddev),
        "InferenceMsMin": _ms(inference.min),
        "InferenceMsMax": _ms(inference.max),
        "InferenceMsP90": _ms(inference.p90),
        "InferenceMsP95": _ms(inference.p95),
        "InferenceMsP99": _ms(inference.p99),
        "InferenceMsFirst": _ms(inference.first),
    }


def _of_rates(calls_per_s: float | None, batch: int | None, device: Device) -> Row:
    """Return the samples per second (calls times batch), and what 1 000 calls and 1 000 samples cost at the device's price."""
    samples_per_s = None if calls_per_s is None else calls_per_s * (batch or 1)
    price = price_of(device)
    return {
        "SamplesPerS": _rounded(samples_per_s, 3),
        "CostPer1000": price.of_1000(calls_per_s) if price else None,
        "CostPer1000Samples": price.of_1000(samples_per_s) if price else None,
        "PricePerHour": price.per_hour if price else None,
        "PriceSource": price.source if price else None,
    }


def _ms(value: float | None) -> float | None:
    return _rounded(value, 6)  # rounded to 1 ns, the resolution of the clock


def _rounded(value: float | None, digits: int) -> float | None:
    return round(value, digits) if value is not None and math.isfinite(value) else None
