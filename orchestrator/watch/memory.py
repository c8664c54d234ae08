"""Holds what the watch remembers between sweeps."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Memory:
    """Holds what the watch remembers between sweeps. If it is lost, work is done later, but never wrongly."""

    unheld: dict[str, tuple[int, int]] = field(
        default_factory=dict
    )  # job id -> (attempt, the worker's number of beats when it first did not hold the job)
    missing: set[tuple[str, int]] = field(default_factory=set)  # the jobs and attempts whose message was missing in the last sweep
    unreadable: dict[str, float] = field(default_factory=dict)  # since when (monotonic) the last heartbeat of each worker cannot be read
    outage_since: float | None = None
    claims_seen_at: float | None = None
    tidied_at: float | None = None
    unstarted: set[tuple[str, int]] = field(default_factory=set)  # the jobs and attempts that a worker works on without a reported start
