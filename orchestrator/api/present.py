"""What is known of jobs only at this moment: what a pending one waits for, and what a worker's device is called.

Both cost one question for a whole page of jobs, however large the fleet is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

from sqlmodel import Session

from orchestrator.api.context import Ctx
from orchestrator.domain.waiting import waiting_for
from orchestrator.store import jobs
from shared.errors import Unavailable
from shared.jobs import JobStatus


class PendingJob(Protocol):
    """A job, or the columns of one."""

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
    """Return what each of these jobs waits for, in their order; None for those that do not wait."""
    pending = {job.lane_id for job in shown if job.status == JobStatus.PENDING and job.dispatched_at is None}
    reasons = jobs.waiting_reasons(session, pending)
    now = ctx.clock.now()
    return [
        waiting_for(
            status=job.status,
            queue=job.queue,
            dispatched=job.dispatched_at is not None,
            not_before=job.not_before,
            lane_reason=reasons.get(job.lane_id, ""),
            now=now,
        )
        for job in shown
    ]


def device_names(ctx: Ctx, worker_ids: Iterable[str | None]) -> dict[str, str]:
    """Return what the devices of these workers are called; nothing while Redis is away, and of a worker that is not known any more."""
    try:
        found = ctx.registry.registrations({worker_id for worker_id in worker_ids if worker_id is not None})
    except Unavailable:
        return {}
    return {worker_id: registration.device_name for worker_id, registration in found.items()}
