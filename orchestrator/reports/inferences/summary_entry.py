"""Makes what the entry of an inference in `summary.json` holds besides what every job has."""

from __future__ import annotations

from typing import Any

from orchestrator.reports.bundle import JobRecord
from orchestrator.reports.inferences.precision import precision_said
from shared.distributions import Distribution
from shared.jobs import JobStatus


def summary_entry(job: JobRecord) -> dict[str, Any]:
    """Return the figures of one job. Figures that were not measured are null. `missing` says why a percentile is null."""
    summary = job.result.summary if job.result is not None and job.status is JobStatus.COMPLETE else None
    return {
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
