"""Serves the calls about queues: what waits in them, and the dead letters."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from orchestrator.api.context import Ctx
from orchestrator.api.errors import documented
from orchestrator.api.times import text_of_epoch
from orchestrator.operations.context import Context
from shared.capabilities import LABELS, RESULTS_QUEUE, worker_queue
from shared.protocol.letters import DeadLetter
from shared.workers import WorkerStatus

router = APIRouter(prefix="/api", tags=["queues"])

LATEST = 5  # the number of dead letters that are shown with the queues


class WorkerQueue(BaseModel):
    device_name: str
    queue_size: int


class LetterHead(BaseModel):
    at: str | None
    by: str = Field(description="the worker that took the message, or `orchestrator`")
    queue: str
    reason: str


class Letter(LetterHead):
    message: str


class Letters(BaseModel):
    count: int
    total: int
    dead_letters: list[Letter]


class QueueStatus(BaseModel):
    worker_queues: dict[str, WorkerQueue]
    capability_queues: dict[str, int]
    results_queue_size: int
    dead_letters: int
    latest_dead_letters: list[LetterHead]


@router.get("/queue/status", response_model=QueueStatus)
def get_queue_status(ctx: Ctx) -> JSONResponse:
    """Show how many messages wait in Redis. Only a part of each campaign is there; its other jobs wait in the table (`job_breakdown`)."""
    workers = [worker.known for worker in ctx.registry.sights() if worker.status is not WorkerStatus.GONE]
    private = [worker_queue(worker.id) for worker in workers]
    depths = ctx.queue.depths([*LABELS, *private, RESULTS_QUEUE])
    letters, latest = ctx.registry.letters.counted(LATEST)
    content = {
        "worker_queues": {
            worker.id: {"device_name": worker.device_name, "queue_size": depths[queue]}
            for worker, queue in zip(workers, private, strict=True)
        },
        "capability_queues": by_label(depths),
        "results_queue_size": depths[RESULTS_QUEUE],
        "dead_letters": letters,
        "latest_dead_letters": [_head(letter) for letter in latest],
    }
    return JSONResponse(content)


@router.get("/queue/dead-letters", name="list_dead_letters", response_model=Letters, responses=documented(422))
def get_dead_letters(
    ctx: Ctx, limit: Annotated[int, Query(ge=1, le=1000, description="the most entries in one answer")] = 20
) -> JSONResponse:
    """List messages that could not be read or were refused, newest first, each with the reason. The last thousand are kept."""
    total, newest = ctx.registry.letters.counted(limit)
    letters = [_head(letter) | {"message": letter.message} for letter in newest]
    return JSONResponse({"count": len(letters), "total": total, "dead_letters": letters})


def _head(letter: DeadLetter) -> dict[str, Any]:
    at = None if letter.at is None else text_of_epoch(letter.at)
    return {"at": at, "by": letter.by, "queue": letter.queue, "reason": letter.reason}


def by_label(depths: dict[str, int]) -> dict[str, int]:
    """Return the queue sizes by label. Queues that share a label are added up.

    A capability that this version cannot run is left out, unless messages of an earlier version wait in its queue.
    """
    sizes: Counter[str] = Counter()
    for capability, label in LABELS.items():
        sizes[label] += depths[capability]
    return dict(sizes)


def capability_depths(ctx: Context) -> dict[str, int]:
    """Return the queue sizes by capability, and the size of the results queue. Capabilities are left out as in `by_label`."""
    return dict(ctx.queue.depths([*LABELS, RESULTS_QUEUE]))
