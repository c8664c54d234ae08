"""How many jobs each queue may hold, and how the room in the queues is shared out within one turn of dispatch.

Jobs are placed one by one, and each placement counts at once: the next job sees the queue as it is by then.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from orchestrator.domain.placement import Fleet, Place

WINDOW_BASE = 64
WINDOW_PER_WORKER = 4
PRIVATE_WINDOW = 2  # one running, one next: a device chosen late is a device chosen well


def window(workers: int) -> int:
    """Return how many jobs the queue of a capability may hold before they are claimed."""
    return WINDOW_BASE + WINDOW_PER_WORKER * workers


class Windows:
    """How full the queues are within one turn of dispatch: what was sent before, and what this turn sends."""

    def __init__(self, living: Fleet, waiting: Iterable[tuple[str, int, int]]) -> None:
        """
        Args:
            waiting: dispatched and unclaimed jobs, as (queue, priority, how many).
        """
        self._living = living
        self._depths: dict[str, Counter[int]] = defaultdict(Counter)
        for queue, priority, jobs in waiting:
            self._depths[queue][priority] += jobs

    def load(self, place: Place) -> float:
        """Return how many jobs wait for each worker that takes from this place."""
        servers = self._living.servers(place.capability) if place.queue == place.capability else 1
        return self._depths[place.queue].total() / max(1, servers)

    def room(self, place: Place, priority: int) -> int:
        """Return how many more jobs of this priority the place may hold.

        Jobs that are less urgent do not count: a gate need not wait for a week's campaign to drain.
        """
        limit = window(self._living.servers(place.capability)) if place.queue == place.capability else PRIVATE_WINDOW
        return max(0, limit - sum(jobs for of, jobs in self._depths[place.queue].items() if of >= priority))

    def add(self, place: Place, priority: int) -> None:
        """Count a job that this turn sends there."""
        self._depths[place.queue][priority] += 1


class Route:
    """Where jobs of one kind and one priority go within a turn: each to the place that has the least to do at that moment.

    The load of a place only grows within a turn, so the places lie in a heap, and one whose load has grown is sorted in anew
    when it comes up. A thousand jobs for a thousand devices cost a few comparisons each.
    """

    def __init__(self, places: Sequence[Place], priority: int, windows: Windows) -> None:
        self._priority, self._windows = priority, windows
        self._heap = [(windows.load(place), order, place) for order, place in enumerate(places)]
        heapq.heapify(self._heap)

    def next(self) -> Place | None:
        """Return the place for the next job; None when every place is full."""
        while self._heap:
            load, order, place = self._heap[0]
            now = self._windows.load(place)
            if now != load:
                heapq.heapreplace(self._heap, (now, order, place))
            elif not self._windows.room(place, self._priority):
                heapq.heappop(self._heap)
            else:
                return place
        return None

    def add(self, place: Place) -> None:
        """Count a job that was sent to this place."""
        self._windows.add(place, self._priority)


def deal(in_flight: Mapping[str, int], give: Callable[[str], bool]) -> int:
    """Deal what there is room for among campaigns, so that all have as much in flight as possible.

    Args:
        in_flight: what each campaign has in flight now, the oldest campaign first.
        give: sends one job of a campaign; False when it has none that can be sent.

    Returns:
        How many jobs were sent.
    """
    heap = [(flying, order, campaign_id) for order, (campaign_id, flying) in enumerate(in_flight.items())]
    heapq.heapify(heap)
    sent = 0
    while heap:
        flying, order, campaign_id = heap[0]
        if give(campaign_id):
            heapq.heapreplace(heap, (flying + 1, order, campaign_id))
            sent += 1
        else:
            heapq.heappop(heap)
    return sent
