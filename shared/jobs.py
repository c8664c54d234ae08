"""Defines the states of jobs and campaigns, the allowed transitions, and the limits of a job."""

from __future__ import annotations

from enum import StrEnum

MAX_INFERENCES = 1_000_000  # the limit for each repeat; this is 8 MB of raw samples. Split longer measurements into several jobs
MAX_REPEATS = 1_000
MAX_TIMEOUT_S = 7 * 86_400
MAX_JOBS = 100_000
MAX_BLOCK = 8  # jobs in one message, whose repeats take turns. A crash of their worker interrupts all of them
DEFAULT_TIMEOUT_S = 3_600
DEFAULT_QUEUE_TIMEOUT_S = 86_400
DEFAULT_PRIORITY = 5
DEFAULT_REPEATS = 6  # this is the smallest number whose smallest and largest value are a 95 % interval for every distribution (96.9 %)


class JobStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL = frozenset({JobStatus.COMPLETE, JobStatus.FAILED, JobStatus.CANCELLED})

TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    # pending -> complete: the result of an earlier attempt arrives after the job went back to its queue.
    JobStatus.PENDING: frozenset({JobStatus.RUNNING, JobStatus.COMPLETE, JobStatus.CANCELLED, JobStatus.FAILED}),
    # running -> pending: the attempt was lost because its worker died, or the worker returned the job unfinished.
    JobStatus.RUNNING: frozenset({JobStatus.PENDING, JobStatus.COMPLETE, JobStatus.FAILED, JobStatus.CANCELLED}),
    JobStatus.COMPLETE: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELLED: frozenset(),
}


class CampaignStatus(StrEnum):
    RUNNING = "running"
    COMPLETED = "completed"  # every job has ended; some may have failed
    CANCELLED = "cancelled"


def outcome(status: str, total: int, failed: int, cancelled: int) -> str:
    """Return a campaign's state with what went wrong, for people: `completed, 3 of 3 failed`."""
    counts = ((failed, "failed"), (0 if status == CampaignStatus.CANCELLED else cancelled, "cancelled"))
    return ", ".join([str(status), *(f"{count} of {total} {word}" for count, word in counts if count)])
