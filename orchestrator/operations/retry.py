"""Retries a job that failed or was cancelled: makes a new job with the same work. The old job stays as it ended."""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import Session

from orchestrator.domain.events import EventKind
from orchestrator.operations.context import Context
from orchestrator.operations.dispatching import fill_queues
from orchestrator.store import jobs
from orchestrator.store.moves import Moves, lock_jobs
from orchestrator.store.retries import add_retry, unfinished_retry
from orchestrator.store.tables import Job
from shared.capabilities import resolve
from shared.errors import IllegalTransition
from shared.jobs import JobStatus


@dataclass(frozen=True)
class Retried:
    """Holds the new job. `replayed` is True if it comes from an earlier retry that has not ended yet."""

    job: Job
    replayed: bool


def retry_job(ctx: Context, job_id: str) -> Retried:
    """Add a copy of a job at the end of its campaign. The campaign runs again until the new job has ended.

    Raises:
        NotFound: there is no such job.
        IllegalTransition: the job is complete or has not ended, or its campaign was cancelled.
        InvalidInput: the job was accepted when a package was installed that ran its compute unit, and the package is gone.
    """

    def write(session: Session) -> Retried:
        now = ctx.clock.now()
        old = lock_jobs(session, [job_id]).get(job_id)
        if old is None or old.status not in (JobStatus.FAILED, JobStatus.CANCELLED):
            status = jobs.get(session, job_id).status  # raises NotFound for an unknown job
            raise IllegalTransition(f"job {job_id} is {status}; a retry is for one that failed or was cancelled")
        resolve(old.compute_unit)
        waiting = unfinished_retry(session, old)
        if waiting is not None:
            return Retried(waiting, replayed=True)
        new = add_retry(session, old, now)
        if new is None:
            raise IllegalTransition(f"campaign {old.campaign_id} was cancelled; submit its recipe again instead")
        moves = Moves(session, now)
        moves.note(old, EventKind.RETRIED, f"as {new}")
        moves.flush()
        return Retried(jobs.get(session, new), replayed=False)

    made = ctx.store.transact(write)
    if not made.replayed:
        fill_queues(ctx, f"{made.job.id} is accepted")
    return made
