"""Defines the port to the queues of assignments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from shared.protocol.messages import Assignment


@dataclass(frozen=True)
class Dispatch:
    """Holds an assignment for one queue. `priority` is the job's: 9 comes first, 0 last."""

    assignment: Assignment
    queue: str
    priority: int


class DispatchQueue(Protocol):
    """Gives access to queues by name. More urgent assignments come first; equally urgent ones keep the order of publishing.

    Every method raises `shared.errors.Unavailable` if the broker does not answer.
    """

    def publish(self, batch: Sequence[Dispatch]) -> None:
        """Put every assignment into its queue. After an error, none, some or all of them may be there, so publish them again."""

    def depths(self, queues: Iterable[str]) -> dict[str, int]:
        """Return how many messages wait in each queue. Messages that a worker has taken do not count."""

    def waiting(self, queues: Iterable[str]) -> set[tuple[str, int]]:
        """Return (job id, attempt) of every message that waits in these queues. Messages that are not ours are left out."""

    def purge(self, queues: Iterable[str]) -> int:
        """Delete all messages that wait in these queues. Return how many there were."""

    def close(self) -> None: ...
