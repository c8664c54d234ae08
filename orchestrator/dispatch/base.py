"""The port: a set of named queues of assignments."""

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
    """Queues by name. Order in a queue: the more urgent first, within that the order of publishing.

    Every method raises `shared.errors.Unavailable` when the broker does not answer.
    """

    def publish(self, batch: Sequence[Dispatch]) -> None:
        """Put every assignment into its queue. After an error none, some or all of them are there: send again."""

    def depths(self, queues: Iterable[str]) -> dict[str, int]:
        """Messages that wait in each queue, not counting what a worker holds."""

    def waiting(self, queues: Iterable[str]) -> set[tuple[str, int]]:
        """The job and the attempt of every message that waits in these queues. Messages of others than us are left out."""

    def purge(self, queues: Iterable[str]) -> int:
        """Drop what waits in the queues; the number dropped."""

    def close(self) -> None: ...
