"""Makes `summary.json`: the figures of a campaign as data, for scripts and automatic checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.reports.bundle import CampaignBundle, JobRecord
from orchestrator.reports.parameters import assumed_dimensions, job_parameters
from orchestrator.reports.precision import precision_said
from orchestrator.reports.rows import utc_text, warnings_of
from shared.distributions import Distribution
from shared.jobs import JobStatus

SUMMARY_FORMAT = 1
# 1: the first format. Times in `latency_s` are seconds; in `load_ms` and `inference_ms` they are milliseconds.

_ONE_JOB = "latencies of different models or devices do not merge; see `jobs`, one entry each"


def summary_head(bundle: CampaignBundle) -> dict[str, Any]:
    return {
        "format": SUMMARY_FORMAT,
        "benchmark_id": bundle.campaign_id,
        "name": bundle.name,
        "status": bundle.status.value,
        "service_type": "model",
        "created_at": utc_text(bundle.created_at),
        "ended_at": utc_text(bundle.ended_at),
    }


def summary_job(job: JobRecord, labels: Mapping[str, str], varied: Sequence[str] = ()) -> dict[str, Any]:
    """Return the figures of one job. Figures that were not measured are null. `missing` says why a percentile is null.

    Args:
        labels: the name of each device, by its worker's id.
        varied: the paths into a job at which the recipe's jobs differ.
    """
    result = job.result
    runtime = result.runtime if result is not None else {}
    summary = job.result.summary if job.result is not None and job.status is JobStatus.COMPLETE else None
    return {
        "job_id": job.job_id,
        "status": job.status.value,
        "model": job.workload.model.name,
        "compute_unit": job.compute_unit,
        "capability": job.result.capability if job.result else job.capability,
        "device": labels.get(result.worker_id, result.device.name) if result else None,
        "worker_id": result.worker_id if result else job.worker_id,
        "model_sha256": (result.model_sha256 if result else None) or job.workload.model.content_sha256,
        "parameters": {**job_parameters(job.workload.model_dump(mode="json"), varied), **assumed_dimensions(runtime)},
        "error": (result.error if result else "") or job.error or None,
        "latency_s": _latency_s(summary.inference) if summary else None,
        "requests_per_second": summary.throughput_per_s if summary else None,
        "load_ms": summary.load.model_dump(mode="json") if summary else None,
        "inference_ms": summary.inference.model_dump(mode="json") if summary else None,
        "repeats": [repeat.model_dump(mode="json") for repeat in summary.repeats] if summary else [],
        "load_peak_mb": summary.load_peak_mb if summary else None,
        "inference_peak_mb": summary.inference_peak_mb if summary else None,
        "memory_method": summary.memory_method if summary else None,
        "cpu_percent": summary.cpu_percent if summary else None,
        "steadiness": summary.steadiness if summary else None,
        "stopped_because": (precision_said(summary, job.workload.stop) if summary else "") or None,
        "warnings": warnings_of(runtime),
        "noise": job.result.noise.model_dump(mode="json") if job.result and job.result.noise else None,
    }


def _latency_s(inference: Distribution) -> dict[str, float | None]:
    """Return the latencies of one job's merged samples in seconds, under the names of the contract."""
    milliseconds = {
        "avg": inference.mean,
        "min": inference.min,
        "max": inference.max,
        "p50": inference.median,
        "p90": inference.p90,
        "p95": inference.p95,
        "p99": inference.p99,
    }
    return {name: None if value is None else value / 1e3 for name, value in milliseconds.items()}


class SummaryTail:
    """Adds up totals while the jobs of a campaign are read."""

    def __init__(self) -> None:
        self._states = dict.fromkeys(JobStatus, 0)
        self._inferences = 0
        self._only: dict[str, Any] | None = None

    def add(self, job: JobRecord, entry: dict[str, Any]) -> None:
        self._states[job.status] += 1
        if entry["inference_ms"] is not None:
            self._inferences += entry["inference_ms"]["n"]
            self._only = entry

    def content(self) -> dict[str, Any]:
        """Return the totals. Latency and throughput are null, with the reason in `missing`, unless exactly one job is complete."""
        states, done = self._states, self._states[JobStatus.COMPLETE]
        ended = done + states[JobStatus.FAILED]
        only = self._only if done == 1 else None
        missing = {"failed_requests": "an inference that fails ends its job; see `jobs_by_status`", "health": "no service was measured"}
        if not ended:
            missing["success_rate"] = "no job ended by itself"
        if only is None:
            missing |= (
                {"latency_s": _ONE_JOB, "requests_per_second": _ONE_JOB}
                if done
                else dict.fromkeys(("latency_s", "requests_per_second"), "no job is complete")
            )
        return {
            "total_jobs": sum(states.values()),
            "jobs_by_status": {state.value: count for state, count in states.items()},
            "total_requests": self._inferences,
            "successful_requests": self._inferences,
            "failed_requests": None,
            "error_count": states[JobStatus.FAILED],
            "success_rate": 100 * done / ended if ended else None,
            "success_rate_of": "jobs that completed, of those that completed or failed",
            "latency_s": only["latency_s"] if only else None,
            "requests_per_second": only["requests_per_second"] if only else None,
            "health": None,
            "missing": missing,
        }
