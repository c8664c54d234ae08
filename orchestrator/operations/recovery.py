"""Holds what the watch does to jobs: it puts back lost attempts, ends overdue jobs and moves deadlines.

Each action is a conditional write, so two watches that lead at the same time do no harm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session

from orchestrator.domain.events import EventKind
from orchestrator.domain.lifecycle import WORKERS_LOST_LIMIT, deadline
from orchestrator.domain.placement import Fleet, KnownWorker
from orchestrator.domain.stored import Unreadable, read_needs, read_requirements, timeout_of
from orchestrator.operations.cancel import after_end
from orchestrator.operations.context import Context
from orchestrator.operations.setbacks import set_back
from orchestrator.store import in_flight, queue_waits
from orchestrator.store.moves import Moves, lock_jobs
from orchestrator.store.tables import Job, Lane
from shared.capabilities import resolve_stored
from shared.jobs import JobStatus


@dataclass(frozen=True)
class Lost:
    """Holds the ids of jobs whose attempt was lost: `back` were put back, `given_up` have failed for good."""

    back: tuple[str, ...] = ()
    given_up: tuple[str, ...] = ()


def lose(ctx: Context, seen: Mapping[str, tuple[int, str]], *, may_give_up: bool = True) -> Lost:
    """Put back jobs whose attempt was lost with its worker. A job that was lost too often fails instead.

    Args:
        seen: job id -> (the attempt that was lost, how it was lost). A job that has changed since is left alone.
        may_give_up: False while results wait to be recorded, as the job's own result may be among them. Then a job that would fail
            is left alone.
    """

    def write(session: Session) -> Lost:
        moves = Moves(session, ctx.clock.now())
        back, given_up = [], []
        for job in lock_jobs(session, seen).values():
            attempt, what = seen[job.id]
            if job.status != JobStatus.RUNNING or job.attempt != attempt:
                continue
            if not may_give_up and job.losses + 1 >= WORKERS_LOST_LIMIT:
                continue
            reason = set_back(session, moves, job, EventKind.LOST, what, job.worker_id)
            if reason is None:
                back.append(job.id)
            else:
                moves.step(job, JobStatus.FAILED, error=reason, error_kind=EventKind.LOST.value)
                moves.note(job, EventKind.FAILED, reason, worker_id=job.worker_id)
                given_up.append(job.id)
        moves.flush()
        return Lost(tuple(back), tuple(given_up))

    if not seen:
        return Lost()
    lost = ctx.store.transact(write)
    if lost.given_up:
        after_end(ctx, lost.given_up)
    return lost


@dataclass(frozen=True)
class Overdue:
    """Describes an overdue job: the attempt and the status in which it was seen, and how it must end."""

    attempt: int
    deadline_at: datetime | None  # its deadline at that time
    seen: JobStatus
    ends: JobStatus
    reason: str
    kind: EventKind  # also the job's `error_kind`


def end_overdue(ctx: Context, found: Mapping[str, Overdue]) -> list[str]:
    """End overdue jobs. Return the ids of the jobs that were ended. A job that has changed since it was seen is left alone."""

    def write(session: Session) -> list[str]:
        moves = Moves(session, ctx.clock.now())
        ended = []
        for job in lock_jobs(session, found).values():
            overdue = found[job.id]
            if (job.status, job.attempt, job.deadline_at) != (overdue.seen, overdue.attempt, overdue.deadline_at):
                continue
            moves.step(job, overdue.ends, error=overdue.reason, error_kind=overdue.kind.value)
            moves.note(job, overdue.kind, overdue.reason, worker_id=job.worker_id)
            ended.append(job.id)
        moves.flush()
        return ended

    if not found:
        return []
    ended = ctx.store.transact(write)
    after_end(ctx, ended)
    return ended


def postpone(ctx: Context, until: Mapping[str, tuple[int, datetime]]) -> int:
    """Give running jobs a new deadline. Return how many deadlines were changed.

    Args:
        until: job id -> (attempt, its new deadline). A job that has changed since is left alone.
    """

    def write(session: Session) -> int:
        moves = Moves(session, ctx.clock.now())
        still = [job for job in lock_jobs(session, until).values() if job.status == JobStatus.RUNNING and job.attempt == until[job.id][0]]
        for job in still:
            moves.set(job, deadline_at=until[job.id][1])
        moves.flush()
        return len(still)

    return ctx.store.transact(write) if until else 0


def stand_still(ctx: Context, missed_s: float) -> int:
    """Add the time without a watch, or without a consumer, to all deadlines and queue timeouts. Return how many deadlines moved.

    No deadline moves beyond that of a job which begins now. So it does no lasting harm to do this twice, or with a wrong clock.

    Args:
        missed_s: how long no watch looked, or no consumer recorded results.
    """
    now, missed = ctx.clock.now(), timedelta(seconds=missed_s)
    with ctx.store.read() as session:
        running = in_flight.running(session)
    until: dict[str, tuple[int, datetime]] = {}
    for job in running:
        if job.deadline_at is not None:
            latest = min(job.deadline_at + missed, deadline(now, job.timeout_s, ctx.settings.deadline_grace_s, job.block_timeout_s))
            until |= {job.id: (job.attempt, latest)} if latest > job.deadline_at else {}
    moved = postpone(ctx, until)
    ctx.store.transact(lambda session: queue_waits.stand_still(session, missed, now))
    return moved


def note_starts(ctx: Context, found: Mapping[str, tuple[int, str, str]]) -> int:
    """Mark jobs as running whose start was never reported. Return how many were marked.

    From then on they have a deadline, and no other process can hand them back.

    Args:
        found: job id -> (attempt, worker id, incarnation) of the process that has claimed the job and holds it.
    """

    def write(session: Session) -> int:
        now = ctx.clock.now()
        moves = Moves(session, now)
        still = [job for job in lock_jobs(session, found).values() if job.status == JobStatus.PENDING and job.attempt == found[job.id][0]]
        for job in still:
            _, worker_id, incarnation = found[job.id]
            until = deadline(now, timeout_of(job.workload), ctx.settings.deadline_grace_s, job.block_timeout_s)
            moves.step(job, JobStatus.RUNNING, started_at=now, deadline_at=until, worker_id=worker_id, incarnation=incarnation)
            moves.note(job, EventKind.STARTED, "as its worker's heartbeat says: the report of the start was lost", worker_id=worker_id)
        moves.flush()
        return len(still)

    return ctx.store.transact(write) if found else 0


def note_served(ctx: Context, at_work: Sequence[KnownWorker]) -> None:
    """Pause the queue timeout of lanes whose jobs one of these busy workers could take next."""
    if not at_work:
        return
    now, fleet = ctx.clock.now(), Fleet(at_work)
    with ctx.store.read() as session:
        served = [lane.id for lane in queue_waits.lanes_to_look_at(session, now) if lane.id is not None and _is_served(lane, fleet)]
    if served:
        ctx.store.transact(lambda session: queue_waits.mark_served(session, served, now))


def _is_served(lane: Lane, at_work: Fleet) -> bool:
    try:
        requires, needs = read_requirements(lane.requires), read_needs(lane.needs)
    except Unreadable:
        return False  # dispatch ends the jobs of such a lane, with the reason
    return bool(at_work.able(resolve_stored(lane.compute_unit), lane.device, requires, needs))


def undispatch(ctx: Context, found: Iterable[Job]) -> int:
    """Take unclaimed jobs out of queues that no worker serves any more, so that they are placed again. Return how many there were.

    The jobs keep their attempt number, because that attempt has not begun. If a worker did claim one, its start still counts.
    """
    attempts = {job.id: job.attempt for job in found}

    def write(session: Session) -> int:
        moves = Moves(session, ctx.clock.now())
        back = 0
        for job in lock_jobs(session, attempts).values():
            if job.status == JobStatus.PENDING and job.dispatched_at is not None and job.attempt == attempts[job.id]:
                moves.note(job, EventKind.UNDISPATCHED, f"{job.queue} is served by nobody")
                moves.set(job, dispatched_at=None, queue=None, capability=None, block=None, block_timeout_s=None)
                back += 1
        moves.flush()
        return back

    return ctx.store.transact(write) if attempts else 0
