"""Ends overdue jobs, and postpones the deadlines of jobs whose time does not count at the moment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from orchestrator.domain.events import EventKind
from orchestrator.domain.findings import Found
from orchestrator.domain.lifecycle import deadline
from orchestrator.operations.context import Context
from orchestrator.operations.recovery import Overdue, end_overdue, note_served, postpone
from orchestrator.registry import WorkerRecord
from orchestrator.store import queue_waits
from orchestrator.store.in_flight import RunningJob
from orchestrator.watch.word import holds, named
from shared.jobs import MAX_TIMEOUT_S, JobStatus
from shared.workers import WAITING_FOR_HOST, WorkerStatus

RESULT_WAIT_S = 86_400.0  # how long after the deadline a finished job's result is awaited; uploads may fail for a night
HOST_WAIT_S = MAX_TIMEOUT_S  # how long a job may wait for other jobs on its host; one of them may take that long
UNKNOWN_HOLDER_WAIT_S = (
    7_200.0  # the same if the table has no job that measures on that host; a worker gives up by itself after half of that
)


def keep_clocks(ctx: Context, workers: dict[str, WorkerRecord], running: Sequence[RunningJob], found: Found) -> None:
    """Postpone the deadlines of jobs that wait for their host, and the queue timeouts of jobs that busy workers could take next."""
    now = ctx.clock.now()
    grace_s = ctx.settings.deadline_grace_s
    heard = {worker.id: worker for worker in workers.values() if ctx.registry.is_heard(worker)}
    busy = {job.worker_id: heard[job.worker_id] for job in running if job.worker_id is not None and job.worker_id in heard}
    taken = {worker.registration.ip_address for worker in busy.values() if worker.stage != WAITING_FOR_HOST}
    until: dict[str, tuple[int, datetime]] = {}
    for job in running:
        worker = busy.get(str(job.worker_id))
        if worker is None or not _waits_for_host(worker, job):
            continue
        longest_s = HOST_WAIT_S if worker.registration.ip_address in taken else UNKNOWN_HOLDER_WAIT_S
        over = job.started_at is None or now - job.started_at > timedelta(seconds=longest_s)
        # A deadline moves long before it is reached, so that enough time is left for the job, but it does not move at every sweep.
        if not over and job.deadline_at is not None and job.deadline_at < deadline(now, job.timeout_s, grace_s / 2, job.block_timeout_s):
            until[job.id] = (job.attempt, deadline(now, job.timeout_s, grace_s, job.block_timeout_s))
    found.deadlines_postponed += postpone(ctx, until)
    note_served(ctx, [worker.known() for worker in busy.values() if _is_at_work(worker)])


def end_overdue_jobs(ctx: Context, workers: dict[str, WorkerRecord], running: Sequence[RunningJob], found: Found) -> None:
    """End overdue jobs. A job whose worker is silent or no longer holds it is not ended here: it counts as lost and goes back."""
    now = ctx.clock.now()
    overdue: dict[str, Overdue] = {}
    for job in running:
        worker = workers.get(str(job.worker_id))
        if worker is not None and job.deadline_at is not None and ctx.registry.is_heard(worker) and _is_over(worker, job, now):
            why = _why_overdue(ctx, worker, job)
            overdue[job.id] = Overdue(job.attempt, job.deadline_at, JobStatus.RUNNING, JobStatus.FAILED, why, EventKind.DEADLINE_EXCEEDED)
    with ctx.store.read() as session:
        queued = queue_waits.late(session, now)
    for job_id, attempt, waiting_for in queued:
        reason = waiting_for.replace("waiting for a worker", "no worker") if waiting_for else "no worker took it in time"
        overdue[job_id] = Overdue(attempt, None, JobStatus.PENDING, JobStatus.FAILED, reason, EventKind.QUEUE_TIMEOUT)
    ended = end_overdue(ctx, overdue)
    found.jobs_timed_out += len(ended)
    found.queue_timeouts += sum(overdue[job_id].seen is JobStatus.PENDING for job_id in ended)


def _is_over(worker: WorkerRecord, job: RunningJob, now: datetime) -> bool:
    """Return whether a job is past its deadline. If it is finished and its worker still keeps the result, it gets more time."""
    assert job.deadline_at is not None
    held = holds(worker, job)
    if worker.incarnation and not held and "held" not in worker.unread:
        return False  # the table may be restored from a backup in which the job ran; after two more beats the job counts as lost
    finished = held and (worker.status is WorkerStatus.CLEANUP or not worker.works_on(job.id))
    return job.deadline_at + timedelta(seconds=RESULT_WAIT_S if finished else 0) < now


def _why_overdue(ctx: Context, worker: WorkerRecord, job: RunningJob) -> str:
    if _waits_for_host(worker, job):
        return (
            f"{named(worker)} waits for another measurement on its host since {job.started_at:%Y-%m-%d %H:%M} UTC: end what holds "
            "the lock there (a worker that was stopped, another program?), or give the host fewer workers"
        )
    return f"no result within its timeout and {ctx.settings.deadline_grace_s:.0f} s of grace"


def _is_at_work(worker: WorkerRecord) -> bool:
    """Return whether a worker with a running job is busy. The deadline of that job limits how long this counts."""
    return worker.status in (WorkerStatus.BUSY, WorkerStatus.CLEANUP) and worker.quarantine is None


def _waits_for_host(worker: WorkerRecord, job: RunningJob) -> bool:
    """Return whether a job waits for another measurement on its host. Its own time has not begun then."""
    return worker.stage == WAITING_FOR_HOST and holds(worker, job)
