"""Makes the CSV rows of jobs in the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from orchestrator.domain.stored import kind_of
from orchestrator.reports.bundle import EndedJob
from orchestrator.reports.columns import Row
from orchestrator.reports.parameters import job_parameters
from orchestrator.reports.rows import csv_row
from orchestrator.store.moves import LockedJob
from orchestrator.store.tables import Job
from shared.inputs import ModelRef
from shared.jobs import JobStatus
from shared.protocol.messages import Result
from shared.repetition import StopRule


def row_of(job: Job, varied: Sequence[str]) -> Row:
    """Return the row of an ended job that has no result.

    Args:
        varied: the paths into a job at which the jobs of its campaign differ.
    """
    return csv_row(
        EndedJob(
            job_id=job.id,
            campaign_id=job.campaign_id,
            status=JobStatus(job.status),
            compute_unit=job.compute_unit,
            model_name=job.model_name,
            attempt=job.attempt,
            recorded_at=job.ended_at or job.created_at,
            worker_id=job.worker_id,
            error=job.error or "",
            model_sha256=_model_sha256(job.workload),
            parameters=job_parameters(job.workload, varied),
            kind=kind_of(job.workload),
        )
    )


def row_of_result(job: LockedJob, status: JobStatus, report: Result, recorded_at: datetime, varied: Sequence[str]) -> Row:
    """Return the row of a job that ends with this result; see `row_of`."""
    ended = EndedJob(
        job_id=job.id,
        campaign_id=job.campaign_id,
        status=status,
        compute_unit=job.compute_unit,
        model_name=job.model_name,
        attempt=report.attempt,
        recorded_at=recorded_at,
        model_size=report.model_size,
        worker_id=report.worker_id,
        error=report.error,
        model_sha256=_model_sha256(job.workload),
        parameters=job_parameters(job.workload, varied),
        stop=_stop_rule(job.workload),
        kind=kind_of(job.workload),
    )
    return csv_row(ended, report)


def _model_sha256(workload: Any) -> str | None:
    """Return the hash of the job's model, or None if it is not known from the stored workload alone."""
    stored = workload.get("model") if isinstance(workload, Mapping) else None
    try:
        return ModelRef.model_validate(stored, strict=False).content_sha256
    except ValidationError:  # another version wrote it; the row is written without the hash
        return None


def _stop_rule(workload: Any) -> StopRule | None:
    """Return the job's stop rule, or None. A rule of another version that cannot be read is None too: the result still counts."""
    stored = workload.get("stop") if isinstance(workload, Mapping) else None
    if stored is None:
        return None
    try:
        return StopRule.model_validate(stored, strict=False)
    except ValidationError:
        return None
