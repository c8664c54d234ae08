"""What waits in the queues."""

from __future__ import annotations

from collections import Counter

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import JSONResponse

from orchestrator.api.context import Ctx
from orchestrator.operations.context import Context
from shared.capabilities import LABELS, RESULTS_QUEUE, worker_queue
from shared.workers import WorkerStatus

router = APIRouter(prefix="/api", tags=["queues"])


class WorkerQueue(BaseModel):
    device_name: str
    queue_size: int


class QueueStatus(BaseModel):
    worker_queues: dict[str, WorkerQueue]
    capability_queues: dict[str, int]
    results_queue_size: int
    dead_letters: int


@router.get("/queue/status", response_model=QueueStatus)
def get_queue_status(ctx: Ctx) -> JSONResponse:
    """Messages that wait in Redis: a window of each campaign; the rest of its jobs waits in the table (`job_breakdown`)."""
    workers = [worker for worker in ctx.registry.all() if worker.status is not WorkerStatus.GONE]
    depths = ctx.queue.depths([*LABELS, *(worker_queue(worker.id) for worker in workers), RESULTS_QUEUE])
    content = {
        "worker_queues": {
            worker.id: {"device_name": worker.registration.device_name, "queue_size": depths[worker_queue(worker.id)]} for worker in workers
        },
        "capability_queues": by_label(depths),
        "results_queue_size": depths[RESULTS_QUEUE],
        "dead_letters": ctx.registry.letters.count(),
    }
    return JSONResponse(content)


def by_label(depths: dict[str, int]) -> dict[str, int]:
    """Queue sizes by label, every one named, those that share a label added up."""
    sizes: Counter[str] = Counter()
    for capability, label in LABELS.items():
        sizes[label] += depths[capability]
    return dict(sizes)


def capability_depths(ctx: Context) -> dict[str, int]:
    """Queue sizes by capability, and of the results."""
    return ctx.queue.depths([*LABELS, RESULTS_QUEUE])
