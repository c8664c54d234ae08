"""Implements queues in the memory of one process, for tests and dry runs."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import count

from orchestrator.dispatch.base import Dispatch
from shared.protocol.messages import Assignment


class MemoryQueue:
    """Implements `DispatchQueue` in memory."""

    def __init__(self) -> None:
        self._queues: dict[str, list[tuple[int, int, tuple[Assignment, ...]]]] = defaultdict(list)
        self._order = count()

    def publish(self, batch: Sequence[Dispatch]) -> None:
        for item in batch:
            heapq.heappush(self._queues[item.queue], (-item.priority, next(self._order), item.assignments))

    def depths(self, queues: Iterable[str]) -> dict[str, int]:
        return {queue: len(self._queues[queue]) for queue in queues}

    def waiting(self, queues: Iterable[str]) -> set[tuple[str, int]]:
        return {
            (assignment.job_id, assignment.attempt) for queue in queues for _, _, message in self._queues[queue] for assignment in message
        }

    def purge(self, queues: Iterable[str]) -> int:
        return sum(len(self._queues.pop(queue, [])) for queue in queues)

    def take(self, queue: str) -> tuple[Assignment, ...]:
        """Take the next message of a queue, as a worker would. Return an empty tuple if the queue is empty."""
        waiting = self._queues[queue]
        return heapq.heappop(waiting)[2] if waiting else ()

    def close(self) -> None:
        self._queues.clear()
