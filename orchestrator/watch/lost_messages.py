"""Messages that were lost on their way: the table says that a job was sent, no queue has it, and no worker has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from orchestrator.operations.context import Context
from orchestrator.operations.dispatching import publish_again
from orchestrator.registry import WorkerRecord
from orchestrator.store import jobs

SENT_AT_ONCE = 1_000


def send_lost(
    ctx: Context, sent: Mapping[str, int], workers: Iterable[WorkerRecord], missed: set[tuple[str, int]]
) -> tuple[int, set[tuple[str, int]]]:
    """Send again the jobs whose messages were missing in this look and in the last one.

    Between the two looks, a worker that had taken a message a moment ago has told by its heartbeat that it holds the job.
    The queues' contents are read only where a queue has fewer messages than the table says.

    Args:
        sent: how many jobs the table holds for sent, by queue; only queues that somebody serves.
        missed: the jobs and attempts that were missing in the last look.

    Returns:
        How many were sent again, and what is missing now and has not been sent again.

    Raises:
        Unavailable: Redis or the database does not answer.
    """
    depths = ctx.queue.depths(sent)
    short = [queue for queue, depth in depths.items() if depth < sent[queue]]
    before = ctx.clock.now() - timedelta(seconds=2 * ctx.settings.sweep_s)  # what is younger may be about to be published
    with ctx.store.read() as session:
        unheard = jobs.dispatched_before(session, short, before)
    if not unheard:
        return 0, set()
    held = {key for worker in workers if ctx.registry.is_heard(worker) for key in worker.held}
    missing = unheard - held - ctx.queue.waiting(short)
    lost = dict(sorted(missing & missed)[:SENT_AT_ONCE])
    with ctx.store.read() as session:
        found = [job for job in jobs.some(session, list(lost)) if job.attempt == lost[job.id]]
        session.expunge_all()
    return publish_again(ctx, found), missing - set(lost.items())
