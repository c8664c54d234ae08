"""What the watch does to jobs: give up on attempts, run out deadlines. Each is a conditional write, safe with two leaders."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlmodel import Session

from orchestrator.domain.lifecycle import GiveUp, after_loss, deadline
from orchestrator.domain.placement import KnownWorker, could_ever_run
from orchestrator.operations.cancel import after_cancel
from orchestrator.operations.context import Context
from orchestrator.store import patience
from orchestrator.store.moves import Moves, lock_jobs
from orchestrator.store.tables import Job, Lane
from shared.capabilities import resolve
from shared.jobs import JobStatus
from shared.recipes import Requirements


def lose(ctx: Context, seen: Mapping[str, tuple[int, str]]) -> int:
    """Put back jobs whose attempt was lost with its process.

    Args:
        seen: job id -> (attempt that was lost, why). A job that has moved on since is left alone.

    Returns:
        How many jobs went back or failed.
    """

    def write(session: Session) -> tuple[int, list[str]]:
        moves = Moves(session, ctx.clock.now())
        touched, ended = 0, []
        for job in lock_jobs(session, seen).values():
            attempt, reason = seen[job.id]
            if job.status != JobStatus.RUNNING or job.attempt != attempt:
                continue
            touched += 1
            verdict = after_loss(
                attempt=job.attempt,
                losses=job.losses,
                max_attempts=job.max_attempts,
                now=ctx.clock.now(),
                jitter=random.random(),  # noqa: S311 (spreads retries; not a secret)
                reason=reason,
            )
            moves.note(job, "lost", reason, worker_id=job.worker_id)
            if isinstance(verdict, GiveUp):
                moves.step(job, JobStatus.FAILED, error=verdict.reason, error_kind="lost")
                ended.append(job.id)
            else:
                moves.again(job, losses=verdict.losses, not_before=verdict.not_before)
        moves.flush()
        return touched, ended

    if not seen:
        return 0
    touched, ended = ctx.store.transact(write)
    if ended:
        after_cancel(ctx, ended)
    return touched


@dataclass(frozen=True)
class Overdue:
    """A job whose time was over when it was looked at, as which attempt in which state, and how it is to end."""

    attempt: int
    seen: JobStatus
    ends: JobStatus
    reason: str
    kind: str


def end_overdue(ctx: Context, found: Mapping[str, Overdue]) -> int:
    """End jobs whose time is over, by their ids. One that has moved on since is left alone. How many ended."""

    def write(session: Session) -> list[str]:
        moves = Moves(session, ctx.clock.now())
        ended = []
        for job in lock_jobs(session, found).values():
            overdue = found[job.id]
            if job.status != overdue.seen or job.attempt != overdue.attempt:
                continue
            moves.step(job, overdue.ends, error=overdue.reason, error_kind=overdue.kind)
            moves.note(job, overdue.kind, overdue.reason, worker_id=job.worker_id)
            ended.append(job.id)
        moves.flush()
        return ended

    if not found:
        return 0
    ended = ctx.store.transact(write)
    after_cancel(ctx, ended)
    return len(ended)


def postpone(ctx: Context, found: Iterable[Job]) -> None:
    """Give running jobs a new deadline, as if they began now."""
    attempts = {job.id: job.attempt for job in found}

    def write(session: Session) -> None:
        now = ctx.clock.now()
        moves = Moves(session, now)
        for job in lock_jobs(session, attempts).values():
            if job.status == JobStatus.RUNNING and job.attempt == attempts[job.id]:
                moves.set(job, deadline_at=deadline(now, job.workload, ctx.settings.deadline_grace_s))
        moves.flush()

    if attempts:
        ctx.store.transact(write)


def note_served(ctx: Context, at_work: Sequence[KnownWorker]) -> None:
    """Hold the queue timeout of the lanes whose jobs one of these workers, which are busy now, could take next."""
    if not at_work:
        return
    now = ctx.clock.now()
    with ctx.store.read() as session:
        served = [lane.id for lane in patience.lanes_to_look_at(session, now) if lane.id is not None and _is_served(lane, at_work)]
    if served:
        ctx.store.transact(lambda session: patience.mark_served(session, served, now))


def _is_served(lane: Lane, at_work: Sequence[KnownWorker]) -> bool:
    requires = Requirements.model_validate(lane.requires)
    return any(could_ever_run(worker, resolve(lane.compute_unit), lane.device, requires) for worker in at_work)


def undispatch(ctx: Context, found: Iterable[Job]) -> int:
    """Take unclaimed jobs out of a queue that nobody serves any more, so that they are placed anew.

    They keep their attempt, which has not begun: should one have been claimed after all, its start still counts.
    """
    attempts = {job.id: job.attempt for job in found}

    def write(session: Session) -> int:
        moves = Moves(session, ctx.clock.now())
        back = 0
        for job in lock_jobs(session, attempts).values():
            if job.status == JobStatus.PENDING and job.dispatched_at is not None and job.attempt == attempts[job.id]:
                moves.note(job, "undispatched", f"{job.queue} is served by nobody")
                moves.set(job, dispatched_at=None, queue=None, capability=None)
                back += 1
        moves.flush()
        return back

    return ctx.store.transact(write) if attempts else 0
