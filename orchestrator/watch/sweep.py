"""One look at everything that can have gone wrong, and what is done about it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.domain.findings import Found
from orchestrator.operations.context import Context
from orchestrator.operations.dispatching import top_up
from orchestrator.operations.recovery import Lost, lose, note_starts, undispatch
from orchestrator.registry import WorkerRecord
from orchestrator.store import jobs
from orchestrator.store.tables import Job
from orchestrator.watch.deadlines import end_overdue_jobs, keep_clocks
from orchestrator.watch.flapping import Fault, quarantine_flapping
from orchestrator.watch.lost_messages import send_lost
from orchestrator.watch.word import holds, named
from shared.capabilities import worker_queue
from shared.ids import JOB_ID
from shared.jobs import TERMINAL
from shared.workers import WorkerStatus

log = logging.getLogger(__name__)

OUTAGE_SHARE = 0.5  # this many of the workers silent at once is an outage, and nobody's fault
OUTAGE_MIN = 4
CLAIMS_EVERY_S = 60.0
BEATS_MISSED = 2  # a worker's first beat without its job may have been made up before it took it


@dataclass
class Memory:
    """What the watch remembers from one sweep to the next. Forgetting it costs time, never correctness."""

    unheld: dict[str, tuple[int, int]] = field(default_factory=dict)  # job -> attempt, its worker's beats when first missed
    missing: set[tuple[str, int]] = field(default_factory=set)  # jobs and attempts whose messages were nowhere in the last look
    outage_since: float | None = None
    claims_seen_at: float | None = None
    unstarted: set[tuple[str, int]] = field(default_factory=set)  # attempts that a worker works on and whose start was not heard of


def sweep(ctx: Context, memory: Memory, *, may_condemn: bool, may_expire: bool = True, may_give_up: bool = True) -> Found:
    """Look once.

    Args:
        may_condemn: False in the first timeout after becoming leader, after an error of Redis and after it lost its
            memory: until every living worker has had the time to be heard.
        may_expire: False for as long, and until what workers reported meanwhile is recorded: before, no job's time is over.
        may_give_up: False while a report waits at all: the result of a job may be among them, so that none is given up for the
            workers that were lost to it.

    Raises:
        Unavailable: Redis or the database does not answer.
    """
    found = Found()
    began = ctx.clock.now()
    workers = {worker.id: worker for worker in ctx.registry.all()}
    with ctx.store.read() as session:
        running = jobs.running(session)
        session.expunge_all()
    if may_condemn and (ctx.clock.now() - began).total_seconds() > ctx.registry.timeout_s / 2:
        # Another watch may lead by now, and everyone may have been heard of. By the wall clock: the other one stands still in a sleep.
        log.warning("this look at workers and jobs took too long to condemn anyone on it")
        may_condemn = may_expire = may_give_up = False
    if may_condemn:
        _condemn_silent(ctx, memory, workers, running, found, may_give_up)
        _requeue_unheld(ctx, memory, workers, running, found, may_give_up)
    keep_clocks(ctx, workers, running, found)
    if may_expire:
        end_overdue_jobs(ctx, workers, running, found)
    _note_lost_starts(ctx, memory, workers, running, found)
    _stop_ended(ctx, memory, workers, running, found)
    _send_again(ctx, memory, workers, found)
    while sent := top_up(ctx):  # until no queue has room: each turn looks anew which has the least to do
        found.jobs_dispatched += sent
    return found


def _condemn_silent(
    ctx: Context, memory: Memory, workers: dict[str, WorkerRecord], running: Sequence[Job], found: Found, may_give_up: bool
) -> None:
    """Workers silent past the timeout become faulty; their jobs, and those of workers nobody knows, go back."""
    at_work = [worker for worker in workers.values() if worker.status not in (WorkerStatus.GONE, WorkerStatus.FAULTY)]
    silent = [worker for worker in at_work if worker.silent_s > ctx.registry.timeout_s]
    now = ctx.clock.monotonic()
    outage = len(silent) >= OUTAGE_MIN and len(silent) > OUTAGE_SHARE * len(at_work)
    if outage:
        if memory.outage_since is None:
            memory.outage_since = now
            found.outages_waited_out += 1
        if now - memory.outage_since < ctx.registry.timeout_s:
            log.warning("%d of %d workers are silent at once: waiting for them before anyone is condemned", len(silent), len(at_work))
            return
    else:
        memory.outage_since = None
    condemned = [worker for worker in silent if ctx.registry.condemn(worker.id)]
    found.faults_found += len(condemned)
    lost_with: dict[str, str] = {}
    for worker in condemned:
        log.warning("%s has been silent for %.0f s: faulty", named(worker), worker.silent_s)
        lost_with[worker.id] = f"{named(worker)} fell silent"
    for job in running:
        record = workers.get(str(job.worker_id))
        if record is None:
            lost_with[str(job.worker_id)] = f"{job.worker_id} is not registered any more"
        elif record.status is WorkerStatus.GONE and record.silent_s <= ctx.registry.timeout_s:
            continue  # it left in order: its word that the job is handed back may be on the way
        elif record.status in (WorkerStatus.FAULTY, WorkerStatus.GONE):
            lost_with[record.id] = f"{named(record)} is {record.status}"
    seen = {job.id: (job.attempt, lost_with[str(job.worker_id)]) for job in running if str(job.worker_id) in lost_with}
    lost = _lose(ctx, seen, found, may_give_up)
    if not outage:  # that is nobody's fault
        at_fault = {str(job.worker_id): job.id for job in running if job.id in (*lost.back, *lost.given_up)}
        faults = [Fault(w.id, at_fault.get(w.id, f"silent since {w.last_seen}"), f"{named(w)} fell silent") for w in condemned]
        found.workers_quarantined += quarantine_flapping(ctx, faults)


def _requeue_unheld(
    ctx: Context, memory: Memory, workers: dict[str, WorkerRecord], running: Sequence[Job], found: Found, may_give_up: bool
) -> None:
    """A job that its living worker has not held for two beats is lost: the worker crashed and came back."""
    missed: dict[str, tuple[int, int]] = {}
    lost: dict[str, tuple[int, str]] = {}
    restarted: dict[str, Fault] = {}
    for job in running:
        worker = workers.get(str(job.worker_id))
        if worker is None or not worker.incarnation or worker.silent_s > ctx.registry.timeout_s:
            continue
        if worker.status is WorkerStatus.GONE or holds(worker, job):
            continue
        attempt, beats = memory.unheld.get(job.id, (job.attempt, worker.beats))
        if attempt != job.attempt or worker.beats < beats + BEATS_MISSED:
            missed[job.id] = (job.attempt, beats if attempt == job.attempt else worker.beats)
        elif worker.incarnation != job.incarnation:
            lost[job.id] = (job.attempt, f"{named(worker)} was started again")
            restarted[job.id] = Fault(worker.id, job.id, lost[job.id][1])
        else:
            lost[job.id] = (job.attempt, f"{named(worker)} does not hold it any more")
    memory.unheld = missed
    done = _lose(ctx, lost, found, may_give_up)
    found.attempts_unheld += len(done.back) + len(done.given_up)
    found.workers_quarantined += quarantine_flapping(ctx, [restarted[name] for name in (*done.back, *done.given_up) if name in restarted])


def _lose(ctx: Context, seen: dict[str, tuple[int, str]], found: Found, may_give_up: bool) -> Lost:
    lost = lose(ctx, seen, may_give_up=may_give_up)
    found.jobs_requeued += len(lost.back)
    found.jobs_given_up += len(lost.given_up)
    return lost


def _note_lost_starts(ctx: Context, memory: Memory, workers: dict[str, WorkerRecord], running: Sequence[Job], found: Found) -> None:
    """A job that a living worker has claimed and says it works on runs, though the word of its start, sent once, never came.

    Seen in two looks, as the word may be on its way. Unknown as running, it would have no deadline, and a copy of its
    message could be handed back by somebody else.
    """
    known = {job.id for job in running}
    says = {
        (name, attempt): worker
        for worker in workers.values()
        if ctx.registry.is_heard(worker) and worker.current_job not in known
        for name, attempt in worker.held
        if name == worker.current_job
    }
    twice = {key: worker for key, worker in says.items() if key in memory.unstarted}
    again = {name: (attempt, worker.id, worker.incarnation) for (name, attempt), worker in twice.items()}
    memory.unstarted = set(says)
    claims = ctx.registry.marks.claims(again)
    runs = {name: who for name, who in again.items() if claims.get(name) == tuple(map(str, who))}
    found.starts_noted += note_starts(ctx, runs)


def _stop_ended(ctx: Context, memory: Memory, workers: dict[str, WorkerRecord], running: Sequence[Job], found: Found) -> None:
    """Stop work that nobody wants any more: Redis was away when its job was cancelled, or everything was reset.

    Now and then, and first of all as a new leader, also forget the claims of jobs that the table does not know, and of those
    whose end whoever wrote it into the table did not live to note in Redis.
    """
    at_work = {worker.current_job for worker in workers.values() if JOB_ID.fullmatch(worker.current_job)}
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
        ctx.registry.marks.forget_claims(unknown - at_work)  # that nobody can run needs no tombstone, and anybody can invent some


def _send_again(ctx: Context, memory: Memory, workers: dict[str, WorkerRecord], found: Found) -> None:
    """Take jobs back out of queues that nobody serves, and send jobs again whose messages were lost."""
    sent: Counter[str] = Counter()
    with ctx.store.read() as session:
        for item in jobs.waiting(session):
            sent[item.queue] += item.jobs
    deserted = [queue for queue in sent if not _is_served(queue, workers)]
    with ctx.store.read() as session:
        back = jobs.dispatched_in(session, deserted)
        session.expunge_all()
    found.jobs_undispatched += undispatch(ctx, back)
    if deserted:
        ctx.queue.purge(deserted)
    served = {queue: number for queue, number in sent.items() if queue not in deserted}
    again, memory.missing = send_lost(ctx, served, workers.values(), memory.missing)
    found.jobs_sent_again += again


def _is_served(queue: str, workers: dict[str, WorkerRecord]) -> bool:
    """Whether a worker that may still be there takes from this queue. A silent one counts until it is condemned."""
    return any(
        (worker_queue(worker.id) == queue or queue in worker.registration.capabilities)
        and worker.status not in (WorkerStatus.FAULTY, WorkerStatus.GONE)
        and worker.quarantine is None
        for worker in workers.values()
    )
