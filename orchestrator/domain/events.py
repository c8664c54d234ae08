"""Lists the kinds of events in a job's history. `GET /api/jobs/{id}` shows them in `timeline`."""

from __future__ import annotations

from enum import StrEnum


class EventKind(StrEnum):
    STARTED = "started"
    HANDED_BACK = "handed_back"  # its worker gave it back without a result
    LOST = "lost"  # its attempt was lost with its worker
    DIED = "died"  # the measured process died or its device failed, and the worker reported it
    UNDISPATCHED = "undispatched"  # it was taken back out of a queue before a worker started it
    SENT_AGAIN = "sent_again"  # its message was lost, and it was sent once more
    COMPLETE = "complete"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PARTIAL = "partial"  # it was cancelled, and its worker sent what it had measured until then
    RETRIED = "retried"  # a user retried it; the retry is another job
    DEADLINE_EXCEEDED = "deadline_exceeded"
    QUEUE_TIMEOUT = "queue_timeout"
    UNWANTED = "unwanted"  # a message about it changed nothing: it came twice, too late, or from another process
    FILE_AWAITED = "file_awaited"  # its result announced a file that is not there yet
    FILE_ARRIVED = "file_arrived"
    FILE_MISSING = "file_missing"  # the file was given up
