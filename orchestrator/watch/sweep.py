"""One look at everything that can have gone wrong, and what is done about it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from orchestrator.operations.context import Context
from orchestrator.operations.dispatching import publish_again, top_up
from orchestrator.operations.recovery import end_overdue, lose, undispatch
from orchestrator.registry import WorkerRecord
from orchestrator.store import jobs
from orchestrator.store.tables import Job
from shared.capabilities import LABELS, worker_queue
from shared.jobs import JobStatus
from shared.workers import WorkerStatus

log = logging.getLogger(__name__)

OUTAGE_SHARE = 0.5  # this many of the workers silent at once is an outage, and nobody's fault
OUTAGE_MIN = 4


@dataclass
class Found:
    """What a sweep came to; added to the counters that `GET /monitoring/stats` shows."""

    faults_found: int = 0
    jobs_requeued: int = 0
    jobs_timed_out: int = 0
    jobs_sent_again: int = 0
    jobs_dispatched: int = 0


@dataclass
class Memory:
    """What the watch remembers from one sweep to the next. Forgetting it costs time, never correctness."""

    unheld: dict[str, tuple[int, float]] = field(default_factory=dict)  # job -> attempt, worker's last beat when first missed
    empty: dict[str, int] = field(default_factory=dict)  # queue -> sweeps it has been empty for
    outage_since: float | None = None


def sweep(ctx: Context, memory: Memory, *, may_condemn: bool) -> Found:
    """Look once.

    Args:
        may_condemn: False in the first timeout after becoming leader, after an error of Redis and after it lost its
            memory: until every living worker has had the time to be heard.

    Raises:
        Unavailable: Redis or the database does not answer.
    """
    found = Found()
    workers = {worker.id: worker for worker in ctx.registry.all()}
    with ctx.store.read() as session:
        running = jobs.running(session)
        session.expunge_all()
    if may_condemn:
        _condemn_silent(ctx, memory, workers, running, found)
        _requeue_unheld(ctx, memory, workers, running, found)
    _end_overdue(ctx, running, found)
    _send_again(ctx, memory, workers, found)
    found.jobs_dispatched = top_up(ctx)
    return found


def _condemn_silent(ctx: Context, memory: Memory, workers: dict[str, WorkerRecord], running: Sequence[Job], found: Found) -> None:
    """Workers silent past the timeout become faulty; their jobs, and those of workers nobody knows, go back."""
    silent = [workers[worker_id] for worker_id in ctx.registry.silent() if worker_id in workers]
    at_work = [worker for worker in workers.values() if worker.status not in (WorkerStatus.GONE, WorkerStatus.FAULTY)]
    now = ctx.clock.monotonic()
    if len(silent) >= OUTAGE_MIN and len(silent) > OUTAGE_SHARE * len(at_work):
        memory.outage_since = memory.outage_since if memory.outage_since is not None else now
        if now - memory.outage_since < ctx.registry.timeout_s:
            log.warning("%d of %d workers are silent at once: waiting for them before anyone is condemned", len(silent), len(at_work))
            return
    else:
        memory.outage_since = None
    for worker in silent:
        log.warning("%s (%s) has been silent for %.0f s: faulty", worker.id, worker.registration.device_name, worker.silent_s)
        ctx.registry.condemn(worker.id)
        found.faults_found += 1
    lost_with = {worker.id: f"{worker.id} ({worker.registration.device_name}) fell silent" for worker in silent}
    for job in running:
        record = workers.get(str(job.worker_id))
        if record is None:
            lost_with[str(job.worker_id)] = f"{job.worker_id} is not registered any more"
        elif record.status in (WorkerStatus.FAULTY, WorkerStatus.GONE):
            lost_with[record.id] = f"{record.id} ({record.registration.device_name}) is {record.status}"
    seen = {job.id: (job.attempt, lost_with[str(job.worker_id)]) for job in running if str(job.worker_id) in lost_with}
    found.jobs_requeued += lose(ctx, seen)


def _requeue_unheld(ctx: Context, memory: Memory, workers: dict[str, WorkerRecord], running: Sequence[Job], found: Found) -> None:
    """A job that its living worker has not held for two beats is lost: the worker crashed and came back."""
    missed: dict[str, tuple[int, float]] = {}
    lost: dict[str, tuple[int, str]] = {}
    for job in running:
        worker = workers.get(str(job.worker_id))
        if worker is None or not worker.incarnation or worker.silent_s > ctx.registry.timeout_s:
            continue
        if (job.id, job.attempt) in worker.held and worker.incarnation == job.incarnation:
            continue
        attempt, first_beat = memory.unheld.get(job.id, (job.attempt, worker.last_seen))
        if attempt == job.attempt and worker.last_seen >= first_beat + 2 * ctx.settings.heartbeat_s * 0.9:
            why = "was started again" if worker.incarnation != job.incarnation else "does not hold it any more"
            lost[job.id] = (job.attempt, f"{worker.id} ({worker.registration.device_name}) {why}")
        else:
            missed[job.id] = (job.attempt, first_beat if attempt == job.attempt else worker.last_seen)
    memory.unheld = missed
    found.jobs_requeued += lose(ctx, lost)


def _end_overdue(ctx: Context, running: Sequence[Job], found: Found) -> None:
    now = ctx.clock.now()
    overdue = {
        job.id: (
            JobStatus.CANCELLED,
            f"no result within its timeout and {ctx.settings.deadline_grace_s:.0f} s of grace",
            "deadline_exceeded",
        )
        for job in running
        if job.deadline_at is not None and job.deadline_at < now
    }
    with ctx.store.read() as session:
        waited = jobs.queued_too_long(session, now)
    for job_id, waiting_for in waited:
        reason = waiting_for.replace("waiting for a worker", "no worker") if waiting_for else "no worker took it in time"
        overdue[job_id] = (JobStatus.FAILED, reason, "queue_timeout")
    found.jobs_timed_out += end_overdue(ctx, overdue)


def _send_again(ctx: Context, memory: Memory, workers: dict[str, WorkerRecord], found: Found) -> None:
    """Jobs that the table holds for sent and no queue has: the message vanished, or nobody serves the queue."""
    with ctx.store.read() as session:
        queues = jobs.dispatched_queues(session)
    depths = ctx.queue.depths(queues)
    memory.empty = {queue: memory.empty.get(queue, 0) + 1 for queue, depth in depths.items() if depth == 0}
    deserted = [queue for queue in queues if queue not in LABELS and not _is_served(queue, workers)]
    vanished = [queue for queue, sweeps in memory.empty.items() if sweeps >= 2 and queue not in deserted]
    settled = ctx.clock.now() - timedelta(seconds=2 * ctx.settings.sweep_s)
    with ctx.store.read() as session:
        old = jobs.dispatched_before(session, ctx.clock.now() - timedelta(seconds=ctx.settings.redispatch_after_s), [*deserted, *vanished])
        session.expunge_all()
    found.jobs_requeued += undispatch(ctx, [job for job in old if job.queue in deserted])
    if deserted:
        ctx.queue.purge(deserted)
    again = [job for job in old if job.queue not in deserted and job.dispatched_at is not None and job.dispatched_at < settled]
    found.jobs_sent_again += publish_again(ctx, again) if again else 0


def _is_served(queue: str, workers: dict[str, WorkerRecord]) -> bool:
    return any(
        worker_queue(worker.id) == queue and worker.status not in (WorkerStatus.FAULTY, WorkerStatus.GONE) for worker in workers.values()
    )
