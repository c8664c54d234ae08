"""What a worker's record says about it and about the job that it was given."""

from __future__ import annotations

from orchestrator.registry import WorkerRecord
from orchestrator.store.tables import Job


def named(worker: WorkerRecord) -> str:
    return f"{worker.id} ({worker.registration.device_name})"


def holds(worker: WorkerRecord, job: Job) -> bool:
    """Return whether this start of the worker has the job in hand, or its result on disk."""
    return (job.id, job.attempt) in worker.held and worker.incarnation == job.incarnation
