"""Reads a worker's record: how the worker is shown in texts, and whether it holds a job."""

from __future__ import annotations

from orchestrator.registry import WorkerRecord
from orchestrator.store.in_flight import RunningJob


def named(worker: WorkerRecord) -> str:
    return f"{worker.id} ({worker.registration.device_name})"


def holds(worker: WorkerRecord, job: RunningJob) -> bool:
    """Return whether the process that started this job still runs it, or has its result on disk."""
    return (job.id, job.attempt) in worker.held and worker.incarnation == job.incarnation
