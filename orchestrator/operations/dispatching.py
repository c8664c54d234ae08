"""Dispatches jobs: keeps each queue filled up to its window, by priority, then fair share between campaigns, then age."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from sqlmodel import Session

from orchestrator.dispatch.base import Dispatch
from orchestrator.domain.events import EventKind
from orchestrator.domain.placement import Place
from orchestrator.domain.stored import Unreadable, read_workload
from orchestrator.operations.context import Context
from orchestrator.operations.open_lanes import Chosen
from orchestrator.operations.turn import take
from orchestrator.operations.unreadable import UnreadableJob, fail_unreadable
from orchestrator.store import turns
from orchestrator.store.moves import LockedJob, Moves, lock_jobs
from orchestrator.store.tables import Job
from shared.errors import Unavailable
from shared.jobs import JobStatus
from shared.protocol.messages import Assignment
from shared.workloads import Workload

log = logging.getLogger(__name__)

# Another process needs milliseconds to fill the queues. If it takes longer, it lost its connection or was stopped. The watch tries again.
TURN_WAIT_S, TURN_WAITS = 0.05, 20


def top_up(ctx: Context) -> int:
    """Send as many jobs as the queues have room for. Return how many assignments were published.

    The table is written first, and the messages go out after the commit. If the broker fails between the two, the watch sends the
    same attempt again. While another process fills the queues, this waits, but at most one second. A job whose stored work this
    version cannot read fails with the reason and does not delay other jobs.

    Raises:
        Unavailable: Redis or the database does not answer.
    """
    with ctx.store.read() as session:
        # Asked first, because a look at a fleet of 1 000 costs 17 ms of processor time, after each batch of results and at each sweep.
        if not turns.is_a_lane_open(session, ctx.clock.now()):
            return 0
    able, quarantined = ctx.registry.fleets()
    sent, waits = 0, 0
    while True:
        taken = ctx.store.transact(lambda session: take(session, ctx.clock.now(), able, quarantined))
        if taken.busy and waits < TURN_WAITS:
            waits += 1
            ctx.clock.sleep(TURN_WAIT_S)
            continue
        if taken.messages:
            ctx.queue.publish([_dispatch(message) for message in taken.messages])
            for one in taken.chosen:
                log.info("attempt %d of %s is sent to %s", one.job.attempt, one.job.id, one.place.queue)
        sent += len(taken.chosen)
        if not fail_unreadable(ctx, taken.unreadable):
            return sent  # otherwise the failed jobs left room for the jobs behind them


def fill_queues(ctx: Context, after: str) -> None:
    """Top up the queues after something else was committed. A failure here does not undo that, so nothing is raised.

    Args:
        after: what was committed, for the log: "campaign-… is accepted".
    """
    try:
        top_up(ctx)
    except Unavailable as error:
        log.warning("%s; the queues are filled when Redis and the database are back: %s", after, error.detail)
    except Exception:
        log.exception("%s; the queues could not be filled: the watch tries again at its next sweep", after)


def publish_again(ctx: Context, found: Sequence[Job]) -> int:
    """Send dispatched, unclaimed jobs once more, with the same attempt. Claims make copies of a message harmless.

    `dispatched_at` is updated, so that the copy has time to arrive too. A job that has changed since it was read is left alone.

    If Redis holds a tombstone for a job that has not ended, no worker could claim the job for hours. So the tombstone is removed, and
    the job waits to be sent as its next attempt, because workers may be done with this one. If the job ends in between, the watch
    writes the tombstone again.

    Each job is sent alone, also if it was lost with the message of a block.

    Returns:
        How many jobs were sent, or wait to be sent as their next attempt.
    """
    ended = ctx.registry.marks.tombstoned(job.id for job in found)
    workloads, unreadable = _read_all(found)
    fail_unreadable(ctx, unreadable)

    def write(session: Session) -> list[Job]:
        moves = Moves(session, ctx.clock.now())
        locked = lock_jobs(session, workloads)
        still = [job for job in found if job.id in locked and _is_sent(locked[job.id], job.attempt)]
        for job in still:
            if job.id in ended:
                why = "it had ended by what Redis knows: this database is of a backup or a standby"
                moves.note(locked[job.id], EventKind.UNDISPATCHED, why)
                moves.again(locked[job.id])
            else:
                moves.note(locked[job.id], EventKind.SENT_AGAIN, "its message was lost: it was in no queue, and no worker had it")
                moves.set(locked[job.id], dispatched_at=ctx.clock.now(), block=None)
        moves.flush()
        return still

    still = ctx.store.transact(write) if workloads else []
    ctx.registry.marks.revive(job.id for job in still if job.id in ended)
    again = [job for job in still if job.id not in ended]
    ctx.registry.marks.doubt_claims({job.id: job.attempt for job in again})
    places = {job.id: Place(str(job.queue), str(job.capability)) for job in again}
    ctx.queue.publish([_dispatch([Chosen(job, workloads[job.id], places[job.id])]) for job in again])
    return len(still)


def _read_all(found: Iterable[Job]) -> tuple[dict[str, Workload], list[UnreadableJob]]:
    """Return the workloads that can be read, by job id, and the jobs whose workload cannot be read."""
    workloads: dict[str, Workload] = {}
    unreadable: list[UnreadableJob] = []
    for job in found:
        try:
            workloads[job.id] = read_workload(job.workload)
        except Unreadable as error:
            unreadable.append(UnreadableJob(job.id, job.attempt, str(error)))
    return workloads, unreadable


def _is_sent(job: LockedJob, attempt: int) -> bool:
    return job.status == JobStatus.PENDING and job.dispatched_at is not None and job.attempt == attempt


def _dispatch(message: Sequence[Chosen]) -> Dispatch:
    first, *others = (
        Assignment.model_construct(
            format=1,
            job_id=one.job.id,
            campaign_id=one.job.campaign_id,
            attempt=one.job.attempt,
            capability=one.place.capability,
            workload=one.workload,
        )
        for one in message
    )
    return Dispatch(first, message[0].place.queue, message[0].job.priority, tuple(others))
