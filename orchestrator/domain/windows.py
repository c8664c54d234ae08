"""Limits how many jobs each queue may hold (its window), and shares the free room within one turn of dispatch.

Jobs are placed one by one, and each placement counts at once, so the next job sees the current length of the queue.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from orchestrator.domain.placement import Fleet, Place

WINDOW_BASE = 64
WINDOW_PER_WORKER = 4
PRIVATE_WINDOW = 2  # one job to run and one next; the rest waits, because a device that is chosen later is chosen better


def window(workers: int) -> int:
    """Return how many jobs the queue of a capability may hold before they are claimed."""
    return WINDOW_BASE + WINDOW_PER_WORKER * workers


class Windows:
    """Tracks how full the queues are within one turn of dispatch. It counts earlier jobs and the jobs of this turn."""

    def __init__(self, living: Fleet, waiting: Iterable[tuple[str, int, int]]) -> None:
        """Count the jobs that are in the queues already.

        Args:
            living: the workers that may get work now.
            waiting: dispatched and unclaimed jobs, as (queue, priority, how many).
        """
        self._living = living
        self._depths: dict[str, Counter[int]] = defaultdict(Counter)
        for queue, priority, jobs in waiting:
            self._depths[queue][priority] += jobs

    def depth(self, queue: str) -> int:
        """Return how many jobs wait in this queue."""
        return self._depths[queue].total() if queue in self._depths else 0

    def load(self, place: Place) -> float:
        """Return how many jobs wait for each worker that takes from this place."""
        servers = self._living.servers(place.capability) if place.queue == place.capability else 1
        return self._depths[place.queue].total() / max(1, servers)

    def room(self, place: Place, priority: int) -> int:
        """Return how many more jobs of this priority the place may hold.

        Less urgent jobs do not count, so that an urgent job does not wait until a long campaign has drained.
        """
        limit = window(self._living.servers(place.capability)) if place.queue == place.capability else PRIVATE_WINDOW
        return max(0, limit - sum(jobs for of, jobs in self._depths[place.queue].items() if of >= priority))

    def add(self, place: Place, priority: int) -> None:
        """Count a job that this turn sends to this place."""
        self._depths[place.queue][priority] += 1


class Route:
    """Chooses the place of each job of one kind and one priority within a turn: the place with the least load at that moment.

    The places are kept in a heap. The load of a place only grows within a turn, so a place whose load has grown is sorted in again
    when it comes to the top. With a thousand jobs for a thousand devices, each job costs a few comparisons.
    """

    def __init__(self, places: Sequence[Place], priority: int, windows: Windows) -> None:
        self._priority, self._windows = priority, windows
        self._places = {place.queue: place for place in places}
        self._heap = [(windows.load(place), order, place) for order, place in enumerate(places)]
        heapq.heapify(self._heap)

    def next(self) -> Place | None:
        """Return the place for the next job, or None if every place is full."""
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

    def at(self, queue: str) -> Place | None:
        """Return the place whose queue this is, or None if it is none of the places."""
        return self._places.get(queue)

    def add(self, place: Place) -> None:
        """Count a job that was sent to this place."""
        self._windows.add(place, self._priority)


def deal(in_flight: Mapping[str, int], give: Callable[[str], int]) -> int:
    """Send messages one by one, always of the campaign with the fewest jobs in flight, until no campaign can send one.

    Args:
        in_flight: how many jobs each campaign has in flight now, the oldest campaign first.
        give: sends one message of a campaign, and returns how many jobs it holds. It returns 0 if the campaign has no job that can be sent.

    Returns:
        How many jobs were sent.
    """
    heap = [(flying, order, campaign_id) for order, (campaign_id, flying) in enumerate(in_flight.items())]
    heapq.heapify(heap)
    sent = 0
    while heap:
        flying, order, campaign_id = heap[0]
        if jobs := give(campaign_id):
            heapq.heapreplace(heap, (flying + jobs, order, campaign_id))
            sent += jobs
        else:
            heapq.heappop(heap)
    return sent
