"""Runs one sweep: checks in order for everything that may have gone wrong, and corrects it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from orchestrator.domain.findings import Found
from orchestrator.operations.context import Context
from orchestrator.operations.dispatching import top_up
from orchestrator.operations.recovery import note_starts, undispatch
from orchestrator.registry import WorkerRecord
from orchestrator.store import in_flight, jobs, turns
from orchestrator.store.in_flight import RunningJob
from orchestrator.watch.deadlines import end_overdue_jobs, keep_clocks
from orchestrator.watch.losses import condemn_silent, requeue_unheld
from orchestrator.watch.lost_messages import send_lost
from orchestrator.watch.memory import Memory
from shared.capabilities import worker_queue
from shared.errors import Unavailable
from shared.ids import JOB_ID
from shared.jobs import TERMINAL
from shared.workers import WorkerStatus

log = logging.getLogger(__name__)

CLAIMS_EVERY_S = 60.0
TIDY_EVERY_S = 60.0


def sweep(
    ctx: Context,
    memory: Memory,
    *,
    may_condemn: bool,
    may_expire: bool = True,
    may_give_up: bool = True,
    stood_still: Callable[[], bool] = lambda: False,
) -> Found:
    """Run one sweep. If a step fails because of a defect, log and count that, and continue with the next step.

    Args:
        may_condemn: False for one timeout after this watch became leader, after an outage, and after Redis lost data. By then every
            living worker has had time to send a heartbeat.
        may_expire: False while `may_condemn` is, and until the reports that came in meanwhile are recorded. No job is ended as
            overdue before that.
        may_give_up: False while any report waits. The result of a job may be among them, so no job fails because of lost workers.
        stood_still: is called after each step. It says whether this process stood still during the step, which makes what the sweep
            has read outdated.

    Raises:
        Unavailable: Redis or the database does not answer.
    """
    found = Found()
    with ctx.store.read() as session:
        running = in_flight.running(session)
    old = stood_still()
    began = ctx.clock.now()
    workers = {worker.id: worker for worker in ctx.registry.registered()}
    # This uses the wall clock, because the monotonic clock stops while the machine sleeps.
    if stood_still() or (ctx.clock.now() - began).total_seconds() > ctx.registry.timeout_s:
        old = True  # another watch may lead now, and workers may have sent heartbeats since
    if may_condemn and old:
        log.warning("this look at jobs and workers took too long to condemn anyone on it")
    judging: list[tuple[bool, Callable[[], None]]] = [
        (may_condemn, lambda: condemn_silent(ctx, memory, workers, running, found, may_give_up)),
        (may_condemn, lambda: requeue_unheld(ctx, memory, workers, running, found, may_give_up)),
        (True, lambda: keep_clocks(ctx, workers, running, found)),
        (may_expire, lambda: end_overdue_jobs(ctx, workers, running, found)),
    ]
    for may, step in judging:
        if may and not old:
            _take(step, found)
        old = stood_still() or old
    for step in (
        lambda: _note_lost_starts(ctx, memory, workers, running, found),
        lambda: _stop_ended(ctx, memory, workers, running, found),
        lambda: _send_again(ctx, memory, workers, found),
        lambda: _fill(ctx, found),
        lambda: _tidy(ctx, memory),
    ):
        _take(step, found)
        stood_still()
    return found


def _take(step: Callable[[], None], found: Found) -> None:
    try:
        step()
    except Unavailable:
        raise
    except Exception:  # the same error would come back at each sweep, and the steps behind it would never run
        log.exception("a step of this sweep failed; the other steps are taken, and this one is tried again at the next sweep")
        found.steps_failed += 1


def _fill(ctx: Context, found: Found) -> None:
    found.jobs_dispatched += top_up(ctx)


def _tidy(ctx: Context, memory: Memory) -> None:
    """Once a minute, move workers that left to the list of departed ones, and forget workers that were silent for long."""
    now = ctx.clock.monotonic()
    if memory.tidied_at is not None and now - memory.tidied_at < TIDY_EVERY_S:
        return
    memory.tidied_at = now
    if forgotten := ctx.registry.tidy():
        log.info("forgot %d workers that left or fell silent long ago: %s", len(forgotten), ", ".join(forgotten[:10]))


def _note_lost_starts(ctx: Context, memory: Memory, workers: dict[str, WorkerRecord], running: Sequence[RunningJob], found: Found) -> None:
    """Mark jobs as running that a living worker has claimed and works on, if the report of their start never came.

    A worker sends that report only once. A job must be seen in two sweeps, because the report may still be on its way. Without this the
    job would have no deadline, and another worker could hand back a copy of its message.
    """
    known = {job.id for job in running}
    says = {
        (name, attempt): worker
        for worker in workers.values()
        if ctx.registry.is_heard(worker)
        for name, attempt in worker.held
        if name not in known and worker.works_on(name)
    }
    twice = {key: worker for key, worker in says.items() if key in memory.unstarted}
    again = {name: (attempt, worker.id, worker.incarnation) for (name, attempt), worker in twice.items()}
    memory.unstarted = set(says)
    claims = ctx.registry.marks.claims(again)
    runs = {name: who for name, who in again.items() if claims.get(name) == tuple(map(str, who))}
    found.starts_noted += note_starts(ctx, runs)


def _stop_ended(ctx: Context, memory: Memory, workers: dict[str, WorkerRecord], running: Sequence[RunningJob], found: Found) -> None:
    """Stop unwanted work: its job was cancelled while Redis was away, or everything was reset.

    Once a minute, and first of all as a new leader, this also looks at all claims. It forgets claims of jobs that the table does not
    know. It writes the tombstones of jobs whose end is in the table but not in Redis, because the process that ended them died.
    """
    at_work = {name for worker in workers.values() for name in (worker.current_job, *worker.others) if JOB_ID.fullmatch(name)}
    claimed: set[str] = set()
    now = ctx.clock.monotonic()
    if memory.claims_seen_at is None or now - memory.claims_seen_at >= CLAIMS_EVERY_S:
        memory.claims_seen_at = now
        claimed = ctx.registry.marks.claimed()
    doubtful = (at_work | claimed) - {job.id for job in running}
    if doubtful:
        with ctx.store.read() as session:
            known = jobs.statuses(session, doubtful)
        unknown = doubtful - known.keys()
        ended = {job_id for job_id, status in known.items() if status in TERMINAL} | (unknown & at_work)
        found.stops_repeated += len(ended & at_work)
        ctx.registry.marks.tombstone(ended)
        ctx.registry.marks.forget_claims(unknown - at_work)  # no worker can run them, and anybody can invent such ids


def _send_again(ctx: Context, memory: Memory, workers: dict[str, WorkerRecord], found: Found) -> None:
    """Take jobs back out of queues that no worker serves, and send jobs again whose messages were lost."""
    sent: Counter[str] = Counter()
    with ctx.store.read() as session:
        for item in turns.waiting(session):
            sent[item.queue] += item.messages
    served_by_some = _served(workers.values())
    deserted = [queue for queue in sent if queue not in served_by_some]
    with ctx.store.read() as session:
        back = in_flight.dispatched_in(session, deserted)
        session.expunge_all()
    found.jobs_undispatched += undispatch(ctx, back)
    if deserted:
        ctx.queue.purge(deserted)
    served = {queue: number for queue, number in sent.items() if queue not in deserted}
    again, memory.missing = send_lost(ctx, served, workers.values(), memory.missing)
    found.jobs_sent_again += again


def _served(workers: Iterable[WorkerRecord]) -> set[str]:
    """Return the queues from which a worker takes. A silent worker counts until it is condemned."""
    return {
        queue
        for worker in workers
        if worker.status not in (WorkerStatus.FAULTY, WorkerStatus.GONE) and worker.quarantine is None
        for queue in (worker_queue(worker.id), *worker.registration.capabilities)
    }
