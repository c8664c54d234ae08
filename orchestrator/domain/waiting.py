"""Says what a pending job waits for, in words for people."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from shared.capabilities import worker_of_queue
from shared.jobs import JobStatus


def waiting_for(
    *,
    status: str,
    queue: str | None,
    dispatched: bool,
    not_before: datetime | None,
    lane_reason: str,
    now: datetime,
    names: Mapping[str, str],
) -> str | None:
    """Return what a job waits for, or None if it does not wait.

    Args:
        queue: the queue that holds its message, if it was sent.
        dispatched: whether it was sent.
        not_before: when it may be sent; None if it may be sent at once.
        lane_reason: why no job of its lane could be placed at the last try; empty if one could.
        names: the names of devices, by their workers' ids. A device that is not listed is called by the id.
    """
    if status != JobStatus.PENDING:
        return None
    if dispatched:
        if queue is not None and (worker_id := worker_of_queue(queue)) is not None:
            return f"waiting in its queue until {names.get(worker_id, worker_id)} is free"
        return f"waiting in the queue {queue} until a worker is free"
    if not_before is not None and not_before > now:
        return f"waiting until {not_before:%H:%M:%S} UTC for its next attempt"
    return lane_reason or "waiting for room in the queue: jobs before it go first"
