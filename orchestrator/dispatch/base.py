"""The port to the queues: named queues of assignments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from shared.protocol.messages import Assignment


@dataclass(frozen=True)
class Dispatch:
    """One assignment on its way to one queue. `priority` is a job's: 9 first, 0 last."""

    assignment: Assignment
    queue: str
    priority: int


class DispatchQueue(Protocol):
    """Queues by name. In a queue the more urgent assignment comes first; equally urgent ones keep the order of publishing.

    Every method raises `shared.errors.Unavailable` when the broker does not answer.
    """

    def publish(self, batch: Sequence[Dispatch]) -> None:
        """Put every assignment into its queue. After an error none, some or all of them may be there: publish them again."""

    def depths(self, queues: Iterable[str]) -> dict[str, int]:
        """Returns how many messages wait in each queue, without those that a worker holds."""

    def waiting(self, queues: Iterable[str]) -> set[tuple[str, int]]:
        """Returns the job and the attempt of every message that waits in these queues. Messages that are not ours are left out."""

    def purge(self, queues: Iterable[str]) -> int:
        """Drop what waits in the queues. Returns how many messages were dropped."""

    def close(self) -> None: ...
