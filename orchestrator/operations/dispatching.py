"""Dispatch: keep a window of the table in the queues, filled by priority, then fair share between campaigns, then age."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from sqlmodel import Session

from orchestrator.dispatch.base import Dispatch
from orchestrator.domain.placement import Fleet, Place, choose, room, share
from orchestrator.operations.context import Context
from orchestrator.store import jobs
from orchestrator.store.jobs import Waiting
from orchestrator.store.moves import LockedJob, Moves, lock_jobs
from orchestrator.store.tables import Job, Lane
from shared.jobs import JobStatus
from shared.protocol.messages import Assignment
from shared.recipes import Requirements
from shared.workloads import Workload

LANES_AT_ONCE = 500  # a page; all are looked at, as those of absent or busy devices come to nothing


def top_up(ctx: Context) -> int:
    """Send what there is room for; how many assignments were published.

    The table is written first, the messages go out after the commit. Should the broker fail between the two, the watch
    sends the same attempt again.

    Raises:
        Unavailable: Redis or the database does not answer.
    """
    living = ctx.registry.living()
    able = Fleet(worker.known() for worker in living if worker.quarantine is None)
    quarantined = Fleet(worker.known() for worker in living if worker.quarantine is not None)
    batch = ctx.store.transact(lambda session: _take(session, ctx, able, quarantined))
    if batch:
        ctx.queue.publish(batch)
    return len(batch)


def publish_again(ctx: Context, found: Sequence[Job]) -> int:
    """Send dispatched, unclaimed jobs once more: the same job and attempt. Claims make copies harmless.

    The row remembers when, so that the copy has its time too. A job that has moved on since is left alone. A tombstone of one
    that has not ended would keep it from being claimed for hours: it goes, and the job waits to be sent as its next attempt,
    as workers may have done with this one. Should the job end in between, the watch writes the tombstone anew.

    Returns:
        How many were sent, or wait to be sent as their next attempt.
    """
    ended = ctx.registry.marks.tombstoned(job.id for job in found)

    def write(session: Session) -> list[Job]:
        moves = Moves(session, ctx.clock.now())
        locked = lock_jobs(session, [job.id for job in found])
        still = [job for job in found if job.id in locked and _is_sent(locked[job.id], job.attempt)]
        for job in still:
            if job.id in ended:
                moves.note(locked[job.id], "undispatched", "it had ended by what Redis knows: this database is of a backup or a standby")
                moves.again(locked[job.id])
            else:
                moves.note(locked[job.id], "sent_again", "its message was lost: it was in no queue, and no worker had it")
                moves.set(locked[job.id], dispatched_at=ctx.clock.now())
        moves.flush()
        return still

    still = ctx.store.transact(write) if found else []
    ctx.registry.marks.revive(job.id for job in still if job.id in ended)
    again = [job for job in still if job.id not in ended]
    ctx.registry.marks.doubt_claims({job.id: job.attempt for job in again})
    ctx.queue.publish([_dispatch(job, str(job.queue), str(job.capability)) for job in again])
    return len(still)


def _is_sent(job: LockedJob, attempt: int) -> bool:
    return job.status == JobStatus.PENDING and job.dispatched_at is not None and job.attempt == attempt


def _take(session: Session, ctx: Context, living: Fleet, quarantined: Fleet) -> list[Dispatch]:
    now = ctx.clock.now()
    waiting = jobs.waiting(session)
    depth: dict[str, int] = defaultdict(int)
    in_queue: dict[str, list[Waiting]] = defaultdict(list)
    of_campaign: Counter[str] = Counter()
    for item in waiting:
        depth[item.queue] += item.jobs
        in_queue[item.queue].append(item)
        of_campaign[item.campaign_id] += item.jobs
    groups: dict[tuple[int, Place], list[tuple[Lane, int]]] = defaultdict(list)
    reasons: dict[int, str] = {}
    for lane, running in _open_lanes(session, now):
        place, reason = choose(lane.compute_unit, lane.device, Requirements.model_validate(lane.requires), living, depth, quarantined)
        if lane.waiting_for != reason and lane.id is not None:
            reasons[lane.id] = reason
        if place is not None:
            groups[lane.priority, place].append((lane, running))
    jobs.set_waiting(session, reasons)
    sent: list[tuple[Job, str, str]] = []
    sent_to: Counter[str] = Counter()
    for (priority, place), lanes in sorted(groups.items(), key=lambda item: (-item[0][0], item[0][1].queue)):
        urgent = sum(item.jobs for item in in_queue[place.queue] if item.priority >= priority) + sent_to[place.queue]
        if seats := room(place, living, urgent):
            chosen = _fairly(session, ctx, lanes, of_campaign, seats)
            sent += [(job, place.queue, place.capability) for job in chosen]
            sent_to[place.queue] += len(chosen)
    jobs.mark_dispatched(session, sent, now)
    return [_dispatch(job, queue, capability) for job, queue, capability in sent]


def _open_lanes(session: Session, now: datetime) -> Iterator[tuple[Lane, int]]:
    last: Lane | None = None
    while True:
        page = jobs.open_lanes(session, now, LANES_AT_ONCE, last)
        yield from page
        if len(page) < LANES_AT_ONCE:
            return
        last = page[-1][0]


def _fairly(session: Session, ctx: Context, lanes: Sequence[tuple[Lane, int]], waiting: Mapping[str, int], seats: int) -> list[Job]:
    """The next jobs of these lanes, dealt so that campaigns have as much in flight as each other.

    Args:
        waiting: dispatched and unclaimed jobs of each campaign.
    """
    by_campaign: dict[str, list[Job]] = {}
    flying: dict[str, int] = {}
    for lane, running in lanes:
        assert lane.id is not None
        flying[lane.campaign_id] = running + waiting.get(lane.campaign_id, 0)
        by_campaign.setdefault(lane.campaign_id, []).extend(jobs.next_in_lane(session, lane.id, ctx.clock.now(), seats))
    found = {job.id: job for listed in by_campaign.values() for job in listed}
    candidates = [(flying[campaign_id], [job.id for job in listed]) for campaign_id, listed in by_campaign.items()]
    return [found[job_id] for job_id in share(candidates, seats)]


def _dispatch(job: Job, queue: str, capability: str) -> Dispatch:
    assignment = Assignment.model_construct(
        format=1,
        job_id=job.id,
        campaign_id=job.campaign_id,
        attempt=job.attempt,
        capability=capability,
        workload=workload_of(job),
    )
    return Dispatch(assignment, queue, job.priority)


def workload_of(job: Job) -> Workload:
    """A job's work as it was accepted. Lists of the stored JSON become tuples again, hence not strict."""
    return Workload.model_validate(job.workload, strict=False)
