"""Fills one row of the CSV per job: the cells that every job has, and those that its kind of work measures (see `sheets`)."""

from __future__ import annotations

from orchestrator.reports.bundle import EndedJob
from orchestrator.reports.columns import COLUMNS, Row, rounded, utc_text
from orchestrator.reports.parameters import assumed_dimensions, written
from orchestrator.reports.runtimes import provider_of, threads_of, warnings_of, whole_number
from orchestrator.reports.sheets.registry import sheet_of
from shared.capabilities import LABELS, label_of
from shared.jobs import JobStatus
from shared.protocol.messages import Result

STATUS_WORDS = {JobStatus.COMPLETE: "Complete", JobStatus.FAILED: "Failed", JobStatus.CANCELLED: "Cancelled"}
_EMPTY: Row = dict.fromkeys(COLUMNS)


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
        "Kind": job.kind,
        "Parameters": written(job.parameters) or None,
        "ModelSha256": job.model_sha256,
    }
    if result is not None:
        row |= _of_result(result)
        row |= _of_runtime(result)
        row["Parameters"] = written({**job.parameters, **assumed_dimensions(result.runtime)}) or None
        if job.status is JobStatus.COMPLETE or (result.outcome is not None and result.outcome.partial):
            row |= sheet_of(job.kind).cells(job, result)
    return row


def _of_result(result: Result) -> Row:
    device = result.device
    row: Row = {
        "ComputeUnits": label_of(result.capability) if result.capability in LABELS else result.capability,
        "DeviceName": device.name,
        "Soc": device.soc or None,
        "Ram": rounded(device.ram_gb, 2),
        "DeviceOs": device.os or None,
        "TotalTimeS": rounded(result.timings_s.get("total", result.ended_at - result.started_at), 3),
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


def _of_runtime(result: Result) -> Row:
    """Return the cells that the runtime reports about itself. They may differ from what was requested."""
    runtime = result.runtime
    return {
        "Provider": provider_of(runtime),
        "BatchSize": whole_number(runtime.get("batch_size")),
        "Threads": threads_of(runtime),
        "Warnings": "; ".join(warnings_of(runtime)) or None,
    }
