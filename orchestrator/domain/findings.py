"""Defines the counters of what the watch finds and does. They count for the whole system. Each field carries its description."""

from __future__ import annotations

from dataclasses import dataclass, field, fields


def _counter(said: str) -> int:
    made: int = field(default=0, metadata={"said": said})
    return made


@dataclass
class Found:
    """Counts what one sweep found and did."""

    faults_found: int = _counter("workers that sent no heartbeat for the timeout, and are marked as faulty until the next one")
    outages_waited_out: int = _counter("times that so many workers fell silent at once that none was marked as faulty for another timeout")
    workers_quarantined: int = _counter("flapping devices that got no work for a while")
    jobs_requeued: int = _counter("attempts that were lost with their worker; each job went back for its next attempt")
    jobs_given_up: int = _counter("jobs that failed because three workers were lost while they ran them")
    attempts_unheld: int = _counter("those of the lost attempts whose worker crashed, came back and no longer held them")
    jobs_undispatched: int = _counter("jobs that were taken back out of a queue that no worker serves any more")
    jobs_sent_again: int = _counter(
        "jobs that were sent again because their message was lost; after a backup, some are sent as their next attempt"
    )
    jobs_dispatched: int = _counter("jobs that a sweep sent because a queue had room for them")
    jobs_timed_out: int = _counter("running or waiting jobs that were ended because their time was over")
    queue_timeouts: int = _counter("those of them that no worker started in time")
    deadlines_postponed: int = _counter(
        "deadlines that were moved because another job measured on the same host, or because no watch looked"
    )
    stops_repeated: int = _counter("ended jobs that a worker still ran; it was told to stop again")
    starts_noted: int = _counter("jobs that a worker ran while the report of their start was lost")
    leaders_changed: int = _counter("times that a watch took over the lead")
    steps_failed: int = _counter(
        "steps of a sweep that failed because of a defect of ours and were tried again at the next sweep; the log has the details"
    )
    memory_losses: int = _counter("times that Redis was new, was restarted or had lost its data")


COUNTERS: dict[str, str] = {each.name: each.metadata["said"] for each in fields(Found)}
