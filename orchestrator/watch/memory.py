"""What the watch remembers from one sweep to the next."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Memory:
    """What the watch remembers from one sweep to the next. Forgetting it costs time, never correctness."""

    unheld: dict[str, tuple[int, int]] = field(
        default_factory=dict
    )  # job -> its attempt, and its worker's count of beats when the job was first missed
    missing: set[tuple[str, int]] = field(default_factory=set)  # jobs and attempts whose messages were nowhere in the last look
    outage_since: float | None = None
    claims_seen_at: float | None = None
    tidied_at: float | None = None
    unstarted: set[tuple[str, int]] = field(default_factory=set)  # attempts that a worker works on although no start of theirs was reported
