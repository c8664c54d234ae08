"""What a worker's record says of it and of the job it was given."""

from __future__ import annotations

from orchestrator.operations.context import Context
from orchestrator.registry import WorkerRecord
from orchestrator.store.tables import Job
from shared.workers import WorkerStatus


def named(worker: WorkerRecord) -> str:
    return f"{worker.id} ({worker.registration.device_name})"


def holds(worker: WorkerRecord, job: Job) -> bool:
    """Whether this start of the worker has the job in hand, or its result on disk."""
    return (job.id, job.attempt) in worker.held and worker.incarnation == job.incarnation


def is_heard(ctx: Context, worker: WorkerRecord) -> bool:
    return worker.silent_s <= ctx.registry.timeout_s and worker.status not in (WorkerStatus.FAULTY, WorkerStatus.GONE)
