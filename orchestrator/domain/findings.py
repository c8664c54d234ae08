"""Defines the counters of what the watch finds and does. They count for the whole system. Each field carries its description."""

from __future__ import annotations

from dataclasses import dataclass, field, fields


def _counter(said: str) -> int:
    made: int = field(default=0, metadata={"said": said})
    return made


@dataclass
class Found:
    """Counts what one sweep found and did."""

    faults_found: int = _counter("workers silent past the timeout, marked faulty until they are heard again")
    outages_waited_out: int = _counter("times so many workers were silent at once that nobody was blamed for another timeout")
    workers_quarantined: int = _counter("flapping devices that were given no work for a while")
    jobs_requeued: int = _counter("attempts lost with their worker, the job sent back as its next attempt")
    jobs_given_up: int = _counter("jobs failed because three workers were lost to them")
    attempts_unheld: int = _counter("of the lost attempts, those that their living worker had forgotten: it crashed and came back")
    jobs_undispatched: int = _counter("jobs taken back out of a queue that nobody serves any more")
    jobs_sent_again: int = _counter("jobs whose message was lost, sent again; after a backup, some as their next attempt")
    jobs_dispatched: int = _counter("jobs sent by a sweep, as there was room for them")
    jobs_timed_out: int = _counter("jobs ended because their time was over, running or waiting")
    queue_timeouts: int = _counter("of those, jobs that nobody started in time")
    deadlines_postponed: int = _counter("deadlines moved because another job measures on the same host, or nobody looked")
    stops_repeated: int = _counter("ended jobs that a worker still ran, told to stop again")
    starts_noted: int = _counter("jobs that ran at a worker whose word of the start was lost")
    leaders_changed: int = _counter("times a watch took over the lead")
    steps_failed: int = _counter("steps of a sweep that failed by a defect of ours and were tried again at the next one; the log has it")
    memory_losses: int = _counter("times Redis was new, was started anew or had lost its memory")


COUNTERS: dict[str, str] = {each.name: each.metadata["said"] for each in fields(Found)}
