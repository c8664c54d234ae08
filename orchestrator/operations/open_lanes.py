"""Reads the sendable jobs of a campaign's lanes, and makes the messages that hold them.

A message holds one job. But jobs that are bound to one device, and so are compared on it, go together as a block: their worker measures
their repeats in turns, so that drift of the device does not become a result.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlmodel import Session

from orchestrator.domain.placement import Place
from orchestrator.domain.stored import Unreadable, read_workload
from orchestrator.domain.windows import Route
from orchestrator.operations.unreadable import UnreadableJob
from orchestrator.store import turns
from orchestrator.store.tables import Job, Lane
from shared.jobs import MAX_BLOCK
from shared.workloads import Workload

FIRST_JOBS, MOST_JOBS = 2 * MAX_BLOCK, 1_024  # page sizes of one lane, growing by four. Rows that are read are also locked
MOST_UNREADABLE = 1_024  # jobs in one turn; else a campaign of which nothing can be read would be locked and held in memory whole


@dataclass(frozen=True)
class Chosen:
    """Holds a job that is sent now, and where it goes."""

    job: Job
    workload: Workload
    place: Place


@dataclass
class Taken:
    """Holds the outcome of one turn."""

    messages: list[list[Chosen]] = field(default_factory=list)  # the jobs of each message
    unreadable: list[UnreadableJob] = field(default_factory=list)
    busy: bool = False  # True if another process fills the queues now, so that this turn did nothing

    @property
    def chosen(self) -> list[Chosen]:
        """Return all jobs that are sent now."""
        return [one for message in self.messages for one in message]


class OpenLane:
    """Reads the sendable jobs of one lane, a page at a time.

    Args:
        is_bound: whether all jobs of the lane go to one device.
    """

    def __init__(self, session: Session, lane: Lane, route: Route, is_bound: bool, now: datetime, taken: Taken) -> None:
        assert lane.id is not None
        self._session, self._lane_id, self._priority = session, lane.id, lane.priority
        self._route, self._now, self._taken = route, now, taken
        self.is_bound = is_bound
        self._page: deque[Job] = deque()
        self._size = FIRST_JOBS
        self._last = 0
        self._ended = False

    def next(self) -> Chosen | None:
        """Return the lane's next job and where it goes, or None if there is no room for it or no job is left."""
        while (
            len(self._taken.unreadable) < MOST_UNREADABLE
            and (place := self._route.next()) is not None
            and (found := self._upcoming(1)) is not None
        ):
            if (chosen := self.take(found[0], place)) is not None:
                return chosen
        return None

    def take(self, job: Job, place: Place) -> Chosen | None:
        """Choose a job that was read. Return None if this version cannot read its work; then it is listed as unreadable."""
        self._page.remove(job)
        try:
            workload = read_workload(job.workload)
        except Unreadable as error:
            self._taken.unreadable.append(UnreadableJob(job.id, job.attempt, str(error)))
            return None
        self._route.add(place)
        if job.priority != self._priority:  # it was changed while the job was in a queue, and the job has come back
            job.priority = self._priority
        return Chosen(job, workload, place)

    def place_in(self, queue: str) -> Place | None:
        """Return the lane's place in this queue, or None if its jobs do not go there."""
        return self._route.at(queue)

    def upcoming(self, most: int) -> list[Job]:
        """Return up to `most` of the lane's next jobs that may be sent together with others."""
        return [job for job in self._upcoming(most) or () if may_go_with_others(job)]

    def _upcoming(self, most: int) -> list[Job] | None:
        while len(self._page) < most and not self._ended:
            found = turns.next_in_lane(self._session, self._lane_id, self._now, self._size, after=self._last)
            self._page.extend(found)
            self._ended = len(found) < self._size
            self._last = (found[-1].position or 0) if found else self._last
            self._size = min(4 * self._size, MOST_JOBS)
        return list(self._page)[:most] or None


def may_go_with_others(job: Job) -> bool:
    """Return whether a job may be in one message with others.

    A job with a setback is sent alone: it may be what kills its worker. So is a job that puts a service under load: the services of several
    jobs would run at the same time, and each would take memory and time from the others.
    """
    puts_load_on_a_service = isinstance(job.workload, Mapping) and job.workload.get("target") is not None
    return job.losses == 0 and job.deaths == 0 and not puts_load_on_a_service


class OpenCampaign:
    """Makes the messages of one campaign and priority.

    Args:
        blocks: how many jobs one message may hold, by the queue that it goes to. One in every queue that is not listed.
    """

    def __init__(self, blocks: Mapping[str, int]) -> None:
        self._blocks = blocks
        self._lanes: deque[OpenLane] = deque()

    def add(self, lane: OpenLane) -> None:
        self._lanes.append(lane)

    def next(self) -> list[Chosen]:
        """Return the jobs of the campaign's next message. The list is empty if there is no room for one, or no job is left."""
        while self._lanes:
            first = self._lanes[0].next()
            if first is not None:
                return [first, *self._companions(self._lanes[0], first)]
            self._lanes.popleft()
        return []

    def _companions(self, lane: OpenLane, first: Chosen) -> Iterable[Chosen]:
        """Choose the jobs that go into the same message as the first one: the next in the order of sending, of all lanes.

        The jobs that are left are spread evenly over their messages. Of nine, five go first, so that no job is left to be measured alone.
        """
        most = min(MAX_BLOCK, self._blocks.get(first.place.queue, 1)) if lane.is_bound and may_go_with_others(first.job) else 1
        if most == 1:
            return
        lanes = [(one, place) for one in self._lanes if one.is_bound and (place := one.place_in(first.place.queue)) is not None]
        ready = sorted(((job.position or 0, job.id, job, one, place) for one, place in lanes for job in one.upcoming(2 * most)), key=_order)
        count = len(ready) + 1
        size = most if count >= 2 * most else math.ceil(count / math.ceil(count / most))
        for _, _, job, one, place in ready[: size - 1]:
            if (chosen := one.take(job, place)) is not None:
                yield chosen


def _order(ready: tuple[int, str, Job, OpenLane, Place]) -> tuple[int, str]:
    return ready[:2]
