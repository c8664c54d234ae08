"""Handles lost attempts: those of workers that fell silent, and those that a living worker no longer holds."""

from __future__ import annotations

import logging
from collections.abc import Sequence, Set

from orchestrator.domain.findings import Found
from orchestrator.operations.context import Context
from orchestrator.operations.recovery import Lost, lose
from orchestrator.registry import WorkerRecord
from orchestrator.store.in_flight import RunningJob
from orchestrator.watch.flapping import Fault, quarantine_flapping
from orchestrator.watch.memory import Memory
from orchestrator.watch.word import holds, named
from shared.workers import WorkerStatus

log = logging.getLogger(__name__)

OUTAGE_SHARE = 0.5  # if more than this share of the workers is silent at once, it is an outage and not a fault of the workers
OUTAGE_MIN = 4
BEATS_MISSED = 2  # a worker may have composed its first beat without the job before it took the job


def condemn_silent(
    ctx: Context, memory: Memory, workers: dict[str, WorkerRecord], running: Sequence[RunningJob], found: Found, may_give_up: bool
) -> None:
    """Mark workers as faulty that are silent past the timeout. Put back their jobs, and the jobs of workers that are not registered.

    A worker that is registered, but whose record cannot be read, loses its jobs only if its heartbeats stop.
    """
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
            continue
        if record.status is WorkerStatus.GONE and record.silent_s <= ctx.registry.timeout_s:
            continue  # it left in an orderly way, and its message that hands the job back may still arrive
        if record.status in (WorkerStatus.FAULTY, WorkerStatus.GONE):
            lost_with[record.id] = f"{named(record)} is {record.status}"
    lost_with |= _lost_without_a_record(ctx, memory, {str(job.worker_id) for job in running} - workers.keys())
    seen = {job.id: (job.attempt, lost_with[str(job.worker_id)]) for job in running if str(job.worker_id) in lost_with}
    lost = _lose(ctx, seen, found, may_give_up)
    if not outage:  # in an outage no device is at fault
        at_fault = {str(job.worker_id): job.id for job in running if job.id in (*lost.back, *lost.given_up)}
        faults = [Fault(w.id, at_fault.get(w.id, f"silent since {w.last_seen}"), f"{named(w)} fell silent") for w in condemned]
        found.workers_quarantined += quarantine_flapping(ctx, faults)


def _lost_without_a_record(ctx: Context, memory: Memory, worker_ids: Set[str]) -> dict[str, str]:
    """Return which of these workers, whose records could not be read, have lost their jobs, and why."""
    pulses = ctx.registry.pulses(worker_ids)
    now, timeout_s = ctx.clock.monotonic(), ctx.registry.timeout_s
    memory.unreadable = {name: memory.unreadable.get(name, now) for name, pulse in pulses.items() if pulse.silent_s is None}
    lost: dict[str, str] = {}
    for name in worker_ids:
        pulse = pulses.get(name)
        if pulse is None:
            lost[name] = f"{name} is not registered any more"
        elif pulse.silent_s is None:
            if now - memory.unreadable[name] > timeout_s:  # a living worker would have written a new one by now
                lost[name] = f"the last heartbeat of {name} could not be read for {now - memory.unreadable[name]:.0f} s"
        elif pulse.silent_s > timeout_s and (pulse.ended or ctx.registry.condemn(name)):
            lost[name] = f"{name}, whose record cannot be read, fell silent"
        if name not in lost:
            log.warning("the record of %s cannot be read; it keeps its jobs while its heartbeats come", name)
    return lost


def requeue_unheld(
    ctx: Context, memory: Memory, workers: dict[str, WorkerRecord], running: Sequence[RunningJob], found: Found, may_give_up: bool
) -> None:
    """Put back jobs that their living worker has not held for two heartbeats, for example because it crashed and restarted."""
    missed: dict[str, tuple[int, int]] = {}
    lost: dict[str, tuple[int, str]] = {}
    restarted: dict[str, Fault] = {}
    for job in running:
        worker = workers.get(str(job.worker_id))
        if worker is None or not worker.incarnation or worker.silent_s > ctx.registry.timeout_s:
            continue
        if worker.status is WorkerStatus.GONE or "held" in worker.unread or holds(worker, job):
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
    once = {restarted[name].worker_id: restarted[name] for name in (*done.back, *done.given_up) if name in restarted}
    found.workers_quarantined += quarantine_flapping(ctx, once.values())  # a restart is one fault, however many jobs took turns


def _lose(ctx: Context, seen: dict[str, tuple[int, str]], found: Found, may_give_up: bool) -> Lost:
    lost = lose(ctx, seen, may_give_up=may_give_up)
    found.jobs_requeued += len(lost.back)
    found.jobs_given_up += len(lost.given_up)
    return lost
