"""Makes `summary.json`: the figures of a campaign as data, for scripts and automatic checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.reports import beside
from orchestrator.reports.bundle import CampaignBundle, JobRecord
from orchestrator.reports.columns import utc_text
from orchestrator.reports.parameters import assumed_dimensions, job_parameters
from orchestrator.reports.runtimes import warnings_of
from orchestrator.reports.sheets.base import Sheet
from shared.jobs import JobStatus
from shared.telemetry import RUNTIME_KEY

SUMMARY_FORMAT = 1
# 1: the first format. Times in `latency_s` are seconds; in `load_ms` and `inference_ms` they are milliseconds.

_ONE_JOB = "latencies of different models or devices do not merge; see `jobs`, one entry each"
_NONE = "the job that is complete has no such figure; see its entry in `jobs`"


def summary_head(bundle: CampaignBundle, sheet: Sheet, first: JobRecord | None = None) -> dict[str, Any]:
    return {
        "format": SUMMARY_FORMAT,
        "benchmark_id": bundle.campaign_id,
        "name": bundle.name,
        "status": bundle.status.value,
        "service_type": sheet.service_type if first is None else sheet.service_type_of(first),
        "created_at": utc_text(bundle.created_at),
        "ended_at": utc_text(bundle.ended_at),
    }


def summary_job(job: JobRecord, sheet: Sheet, labels: Mapping[str, str], varied: Sequence[str] = ()) -> dict[str, Any]:
    """Return the entry of one job: what every job has, and the figures of its kind of work. Figures that were not measured are null.

    `telemetry` says how those were found that were sampled beside the work, and `missing` why columns of the CSV for them are empty.

    Args:
        sheet: the sheet of its kind of work.
        labels: the name of each device, by its worker's id.
        varied: the paths into a job at which the recipe's jobs differ.
    """
    result = job.result
    runtime = result.runtime if result is not None else {}
    return {
        "job_id": job.job_id,
        "status": job.status.value,
        "model": job.name,
        "compute_unit": job.compute_unit,
        "capability": job.result.capability if job.result else job.capability,
        "device": labels.get(result.worker_id, result.device.name) if result else None,
        "worker_id": result.worker_id if result else job.worker_id,
        "model_sha256": (result.model_sha256 if result else None) or job.content_sha256,
        "parameters": {**job_parameters(job.workload.model_dump(mode="json"), varied), **assumed_dimensions(runtime)},
        "error": (result.error if result else "") or job.error or None,
        **sheet.summary_entry(job),
        "warnings": warnings_of(runtime),
        "noise": job.result.noise.model_dump(mode="json") if job.result and job.result.noise else None,
        "telemetry": runtime.get(RUNTIME_KEY),
        "missing": beside.missing(result) if result is not None and job.status is JobStatus.COMPLETE else {},
    }


class SummaryTail:
    """Adds up totals while the jobs of a campaign are read."""

    def __init__(self, sheet: Sheet) -> None:
        self._sheet = sheet
        self._states = dict.fromkeys(JobStatus, 0)
        self._units = 0  # the units of work, such as inferences
        self._failed: int | None = None  # how many of these failed; None if a unit that fails ends its job
        self._only: dict[str, Any] | None = None

    def add(self, job: JobRecord, entry: dict[str, Any]) -> None:
        self._states[job.status] += 1
        if job.status is JobStatus.COMPLETE:
            self._only = entry
        units = self._sheet.units(entry)
        if units:
            self._units += units
            if (failed := self._sheet.failed_units(entry)) is not None:
                self._failed = (self._failed or 0) + failed

    def content(self) -> dict[str, Any]:
        """Return the totals. Latency and throughput are null, with the reason in `missing`, unless exactly one job is complete."""
        states, done = self._states, self._states[JobStatus.COMPLETE]
        ended = done + states[JobStatus.FAILED]
        only = self._only if done == 1 else None
        missing = dict(self._sheet.missing)
        if not ended:
            missing["success_rate"] = "no job ended by itself"
        why = "no job is complete" if not done else _ONE_JOB if only is None else _NONE
        missing |= {name: why for name in ("latency_s", "requests_per_second") if only is None or only.get(name) is None}
        return {
            "total_jobs": sum(states.values()),
            "jobs_by_status": {state.value: count for state, count in states.items()},
            "total_requests": self._units,
            "successful_requests": self._units - (self._failed or 0),
            "failed_requests": self._failed,
            **(self._rate_of_jobs(done, ended) if self._failed is None else self._rate_of_requests(self._failed)),
            "latency_s": only.get("latency_s") if only else None,
            "requests_per_second": only.get("requests_per_second") if only else None,
            "health": only.get("health") if only else None,
            "missing": missing,
        }

    def _rate_of_jobs(self, done: int, ended: int) -> dict[str, Any]:
        return {
            "error_count": self._states[JobStatus.FAILED],
            "success_rate": 100 * done / ended if ended else None,
            "success_rate_of": "jobs that completed, of those that completed or failed",
        }

    def _rate_of_requests(self, failed: int) -> dict[str, Any]:
        return {
            "error_count": failed,
            "success_rate": 100 * (self._units - failed) / self._units,
            "success_rate_of": "requests that succeeded, of those that were sent",
        }
