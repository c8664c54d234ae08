"""Fails the jobs whose stored work this version cannot read. Each one fails alone, with the reason, and other jobs go on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

from sqlmodel import Session

from orchestrator.domain.events import EventKind
from orchestrator.operations.cancel import after_end
from orchestrator.operations.context import Context
from orchestrator.store.moves import Moves, lock_jobs
from shared.jobs import JobStatus

log = logging.getLogger(__name__)

KIND = "unreadable"  # why such a job failed, in `error_kind`


class UnreadableJob(NamedTuple):
    """Names a pending job that cannot be sent, and the reason."""

    job_id: str
    attempt: int
    why: str


def fail_unreadable(ctx: Context, found: Sequence[UnreadableJob]) -> int:
    """End these jobs as failed. Return how many were ended. A job that has changed since it was read is left alone.

    Raises:
        Unavailable: the database does not answer.
    """
    if not found:
        return 0
    why = {one.job_id: one for one in found}

    def write(session: Session) -> list[str]:
        moves = Moves(session, ctx.clock.now())
        ended = []
        for job in lock_jobs(session, why).values():
            if (job.status, job.attempt) != (JobStatus.PENDING, why[job.id].attempt):
                continue
            reason = f"{why[job.id].why}; submit the work again with this version, or run it with the version that stored it"
            moves.step(job, JobStatus.FAILED, error=reason, error_kind=KIND)
            moves.note(job, EventKind.FAILED, reason)
            ended.append(job.id)
        moves.flush()
        return ended

    ended = ctx.store.transact(write)
    for job_id in ended:
        log.error("%s has failed: %s", job_id, why[job_id].why)
    after_end(ctx, ended)
    return len(ended)
