"""What a pending job waits for, in words for a person."""

from __future__ import annotations

from datetime import datetime

from shared.capabilities import worker_queue
from shared.jobs import JobStatus

_PRIVATE = worker_queue("")  # what the queue of one worker begins with


def waiting_for(
    *, status: str, queue: str | None, dispatched: bool, not_before: datetime | None, lane_reason: str, now: datetime
) -> str | None:
    """Return what a job waits for; None for one that does not wait.

    Args:
        queue: where its message lies, if it was sent.
        dispatched: whether it was sent.
        not_before: when it may be sent; None for one that may be sent at once.
        lane_reason: why nothing of its lane could be placed when that was last tried; empty when it could.
    """
    if status != JobStatus.PENDING:
        return None
    if dispatched:
        if queue is not None and queue.startswith(_PRIVATE):
            return f"waiting in its queue until {queue.removeprefix(_PRIVATE)} is free"
        return f"waiting in the queue {queue} until a worker is free"
    if not_before is not None and not_before > now:
        return f"waiting until {not_before:%H:%M:%S} UTC for its next attempt"
    return lane_reason or "waiting for room in the queue: jobs before it go first"
