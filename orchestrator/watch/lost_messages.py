"""Finds lost messages: the table says that a job was sent, but no queue and no worker has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from orchestrator.operations.context import Context
from orchestrator.operations.dispatching import publish_again
from orchestrator.registry import WorkerRecord
from orchestrator.store import in_flight, jobs

SENT_AT_ONCE = 1_000


def send_lost(
    ctx: Context, sent: Mapping[str, int], workers: Iterable[WorkerRecord], missed: set[tuple[str, int]]
) -> tuple[int, set[tuple[str, int]]]:
    """Send again the jobs whose messages were missing both in the last sweep and in this one.

    A worker may have just taken a message. By the next sweep its heartbeat says that it holds the job. The content of a queue is read
    only if it has fewer messages than the table says.

    Args:
        sent: how many messages are in each queue according to the table. It names only queues that a worker serves.
        missed: the (job id, attempt) pairs that were missing in the last sweep.

    Returns:
        How many jobs were sent again, and the pairs that are missing now and were not sent again.

    Raises:
        Unavailable: Redis or the database does not answer.
    """
    depths = ctx.queue.depths(sent)
    short = [queue for queue, depth in depths.items() if depth < sent[queue]]
    before = ctx.clock.now() - timedelta(seconds=2 * ctx.settings.watch_sweep_s)  # a job that was marked later may not be published yet
    with ctx.store.read() as session:
        unheard = in_flight.dispatched_before(session, short, before)
    if not unheard:
        return 0, set()
    held = {key for worker in workers if ctx.registry.is_heard(worker) for key in worker.held}
    missing = unheard - held - ctx.queue.waiting(short)
    lost = dict(sorted(missing & missed)[:SENT_AT_ONCE])
    with ctx.store.read() as session:
        found = [job for job in jobs.some(session, list(lost)) if job.attempt == lost[job.id]]
        session.expunge_all()
    return publish_again(ctx, found), missing - set(lost.items())
