"""Looks up what is not stored with jobs: what a pending job waits for, and the device name of a worker.

Each needs one query for a whole page of jobs, however large the fleet is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

from sqlmodel import Session

from orchestrator.api.context import Ctx
from orchestrator.domain.waiting import waiting_for
from orchestrator.store import jobs
from shared.capabilities import worker_of_queue
from shared.errors import Unavailable
from shared.jobs import JobStatus


class PendingJob(Protocol):
    """Names the columns of a job that are needed here."""

    @property
    def status(self) -> str: ...
    @property
    def lane_id(self) -> int: ...
    @property
    def queue(self) -> str | None: ...
    @property
    def dispatched_at(self) -> datetime | None: ...
    @property
    def not_before(self) -> datetime | None: ...


def waits(ctx: Ctx, session: Session, shown: Sequence[PendingJob]) -> list[str | None]:
    """Return what each of these jobs waits for, in the same order. It is None for jobs that do not wait."""
    pending = {job.lane_id for job in shown if job.status == JobStatus.PENDING and job.dispatched_at is None}
    reasons = jobs.waiting_reasons(session, pending)
    now = ctx.clock.now()
    queues = (job.queue for job in shown if job.status == JobStatus.PENDING and job.dispatched_at is not None)
    names = device_names(ctx, {worker_of_queue(queue) for queue in queues if queue is not None})
    return [
        waiting_for(
            status=job.status,
            queue=job.queue,
            dispatched=job.dispatched_at is not None,
            not_before=job.not_before,
            lane_reason=reasons.get(job.lane_id, ""),
            now=now,
            names=names,
        )
        for job in shown
    ]


def device_names(ctx: Ctx, worker_ids: Iterable[str | None]) -> dict[str, str]:
    """Return the device names of these workers, by worker id. Unknown workers are left out; while Redis is away, all are."""
    try:
        found = ctx.registry.registrations({worker_id for worker_id in worker_ids if worker_id is not None})
    except Unavailable:
        return {}
    return {worker_id: registration.device_name for worker_id, registration in found.items()}
