"""Resets the system: deletes workers, campaigns and queued messages. Files under `outputs/` stay."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.operations.context import Context
from orchestrator.operations.removal import note_reset
from orchestrator.store import campaigns, in_flight, worker_keys
from shared.capabilities import LABELS, RESULTS_QUEUE, worker_queue


@dataclass(frozen=True)
class Cleared:
    """Holds how many of each were deleted."""

    workers: int
    campaigns: int
    jobs: int
    results: int
    messages: int


def reset(ctx: Context) -> Cleared:
    """Delete all workers, campaigns, jobs, results and queued messages. Return how many there were.

    Raises:
        Unavailable: Redis or the database does not answer. The database is cleared first; calling this again finishes the rest.
    """
    workers = ctx.registry.everyone()
    with ctx.store.read() as session:
        private = [queue for queue in in_flight.dispatched_queues(session) if queue not in LABELS]
    note_reset(ctx, done=False)  # this comes first, so that a process which misses a campaign sees that it may have been reset
    gone = ctx.store.transact(campaigns.delete_all)
    note_reset(ctx, done=True)
    messages = ctx.queue.purge({*LABELS, *private, *(worker_queue(worker.id) for worker in workers), RESULTS_QUEUE})
    if ctx.settings.broker_logins:
        ctx.registry.logins.take_away(worker.id for worker in workers)
        ctx.store.transact(lambda session: worker_keys.end(session, [worker.id for worker in workers]))
    ctx.registry.clear()
    return Cleared(len(workers), *gone, messages)
