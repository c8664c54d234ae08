"""Makes campaigns for the tests of reports from raw samples, with the same statistics as the worker."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from orchestrator.reports.bundle import CampaignBundle, DeviceEntry, EndedJob, JobRecord
from orchestrator.reports.rows import csv_row
from shared.device_labels import device_labels
from shared.ids import job_id
from shared.inputs import ModelRef
from shared.jobs import CampaignStatus, JobStatus
from shared.measurements import Noise, RawRepeat
from shared.protocol.messages import Device, Result
from shared.stats import summarise
from shared.workloads import inference_workload

CAMPAIGN = "campaign-0123456789abcdefgh"
ENDED = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def result_of(number: int = 1, median_ms: float = 5.0, repeats: int = 5, inferences: int = 100, **changes: Any) -> Result:
    """Return a complete result whose inferences are around `median_ms`; `changes` replace fields of the message."""
    generator = random.Random(number)
    raw = [
        RawRepeat(
            index=index,
            load_ns=int(80e6 + index),
            warmup_ns=[int(9e6)] * 10,
            inference_ns=[int(median_ms * 1e6 * generator.uniform(0.95, 1.05)) for _ in range(inferences)],
            load_peak_mb=120.5,
            inference_peak_mb=130.25,
            memory_method="VmHWM, reset between phases",
            cpu_percent=180.0,
        )
        for index in range(repeats)
    ]
    content: dict[str, Any] = {
        "job_id": job_id(CAMPAIGN, number),
        "attempt": 1,
        "worker_id": "worker-abc",
        "incarnation": "one",
        "campaign_id": CAMPAIGN,
        "capability": "cpu.onnx",
        "status": "complete",
        "device": Device(name="pi-5", soc="BCM2712", ram_gb=7.9, os="Linux", labels={"price_per_hour": "0.36"}),
        "model_name": "squeezenet.onnx",
        "model_size": 4_956_208,
        "model_sha256": "ab" * 32,
        "summary": summarise(raw),
        "noise": Noise(grade="fair", reasons=["governor is powersave"]),
        "runtime": {"version": "1.31.1", "providers": ["CPUExecutionProvider"]},
        "software": {"onnxruntime": "1.31.1"},
        "started_at": 1_700_000_000.0,
        "ended_at": 1_700_000_012.0,
        "timings_s": {"total": 12.5},
    }
    return Result.model_validate(content | changes)


def ended_job(number: int = 1, status: JobStatus = JobStatus.COMPLETE, **changes: Any) -> EndedJob:
    content: dict[str, Any] = {
        "job_id": job_id(CAMPAIGN, number),
        "campaign_id": CAMPAIGN,
        "status": status,
        "compute_unit": "cpu.onnx",
        "model_name": "squeezenet.onnx",
        "attempt": 1,
        "recorded_at": ENDED,
    }
    return EndedJob(**(content | changes))


def record(number: int = 1, result: Result | None = None, **changes: Any) -> JobRecord:
    """Return a job that has ended. It is complete with its result, or has the given `status`."""
    status = changes.pop("status", JobStatus.COMPLETE)
    model = ModelRef(source="file:///models/squeezenet.onnx", name=result.model_name if result else "squeezenet.onnx")
    content: dict[str, Any] = {
        "job_id": job_id(CAMPAIGN, number),
        "status": status,
        "compute_unit": "cpu.onnx",
        "workload": inference_workload(model=model),
        "attempt": 1,
        "created_at": ENDED,
        "ended_at": ENDED,
        "result": result,
        "row": csv_row(
            ended_job(number, status=status, error=changes.get("error", ""), model_name=model.name),
            result,
        ),
    }
    return JobRecord(**(content | changes))


def bundle(jobs: Iterable[JobRecord], **changes: Any) -> CampaignBundle:
    """Return a campaign of these jobs. If the jobs are a list, its devices are those of their results."""
    results = [job.result for job in jobs if job.result is not None] if isinstance(jobs, list) else []
    labels = device_labels((result.worker_id, result.device.name) for result in results)
    content: dict[str, Any] = {
        "campaign_id": CAMPAIGN,
        "name": "everywhere",
        "status": CampaignStatus.COMPLETED,
        "created_at": datetime(2026, 3, 4, 5, 0, 0, tzinfo=UTC),
        "ended_at": ENDED,
        "recipe": {"name": "everywhere", "model": "file:///models/squeezenet.onnx", "on": ["cpu.onnx"]},
        "recipe_hash": "12" * 32,
        "jobs": jobs,
        "devices": {worker_id: DeviceEntry(label) for worker_id, label in labels.items()},
    }
    return CampaignBundle(**(content | changes))
