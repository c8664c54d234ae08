"""Defines the port to the queues of assignments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from shared.protocol.messages import Assignment


@dataclass(frozen=True)
class Dispatch:
    """Holds a message for one queue: the assignment of one job, or those of several jobs that take turns.

    `priority` is that of the jobs: 9 comes first, 0 last.
    """

    assignment: Assignment
    queue: str
    priority: int
    others: tuple[Assignment, ...] = ()

    @property
    def assignments(self) -> tuple[Assignment, ...]:
        return self.assignment, *self.others


class DispatchQueue(Protocol):
    """Gives access to queues by name. More urgent messages come first; equally urgent ones keep the order of publishing.

    Every method raises `shared.errors.Unavailable` if the broker does not answer.
    """

    def publish(self, batch: Sequence[Dispatch]) -> None:
        """Put every message into its queue. After an error, none, some or all of them may be there, so publish them again."""

    def depths(self, queues: Iterable[str]) -> dict[str, int]:
        """Return how many messages wait in each queue. Messages that a worker has taken do not count."""

    def waiting(self, queues: Iterable[str]) -> set[tuple[str, int]]:
        """Return (job id, attempt) of every job whose message waits in these queues. Messages that are not ours are left out."""

    def purge(self, queues: Iterable[str]) -> int:
        """Delete all messages that wait in these queues. Return how many there were."""

    def close(self) -> None: ...
