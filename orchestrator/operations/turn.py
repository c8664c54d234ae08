"""Runs one turn of dispatch: chooses which jobs leave the table now, and the queue that each of them goes to."""

from __future__ import annotations

import json
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from sqlmodel import Session

from orchestrator.domain.one_device import Need, place_of, waits_for_chosen
from orchestrator.domain.placement import Fleet, KnownWorker, Place, places_for
from orchestrator.domain.stored import Unreadable, read_requirements, read_workload
from orchestrator.domain.windows import Route, Windows, deal
from orchestrator.operations.chosen_devices import ChosenDevices
from orchestrator.operations.unreadable import UnreadableJob
from orchestrator.store import jobs, lanes
from orchestrator.store.lanes import LaneChange
from orchestrator.store.tables import Job, Lane
from shared.recipes import Requirements
from shared.workloads import Workload

LANES_AT_ONCE = 500  # the page size; a turn reads all pages, because lanes of absent or busy devices send nothing
FIRST_JOBS, MOST_JOBS = 16, 1_024  # page sizes of one lane, growing by four. Rows that are read are also locked
# the limit of one turn; otherwise, if nothing of a campaign can be read, all of its jobs would be locked and held in memory
MOST_UNREADABLE = 1_024


@dataclass(frozen=True)
class Chosen:
    """Holds a job that is sent now, and where it goes."""

    job: Job
    workload: Workload
    place: Place


@dataclass
class Taken:
    """Holds the outcome of one turn."""

    chosen: list[Chosen] = field(default_factory=list)
    unreadable: list[UnreadableJob] = field(default_factory=list)
    busy: bool = False  # True if another process fills the queues now, so that this turn did nothing


def take(session: Session, now: datetime, living: Fleet, quarantined: Fleet) -> Taken:
    """Choose the jobs to send and write that into the table. The order is priority, then fair share between campaigns, then age.

    On PostgreSQL only one process does this at a time. Otherwise two processes together could fill a queue beyond its window.
    """
    if not jobs.lock_windows(session):
        return Taken(busy=True)
    waiting = jobs.waiting(session)
    windows = Windows(living, [(item.queue, item.priority, item.jobs) for item in waiting])
    in_flight: Counter[str] = Counter()
    for item in waiting:
        in_flight[item.campaign_id] += item.jobs
    taken = Taken()
    running_of: dict[str, int] = {}
    by_priority: dict[int, dict[str, deque[_OpenLane]]] = defaultdict(lambda: defaultdict(deque))
    routes = _Routes(windows, living, quarantined)
    opened = list(_open_lanes(session, now))
    devices = ChosenDevices(session, windows, living, [lane for lane, _ in opened])
    changes: dict[int, LaneChange] = {}
    for lane, running in opened:
        assert lane.id is not None
        running_of[lane.campaign_id] = running
        try:
            device, reason = devices.of(lane)
            route, reason = (None, reason) if reason else routes.of(lane, device)
        except Unreadable as error:
            taken.unreadable += _jobs_of(session, lane, now, str(error))
            continue
        if lane.waiting_for != reason:
            changes[lane.id] = LaneChange(reason, lane.device, lane.device_name)
        if route is not None:
            by_priority[lane.priority][lane.campaign_id].append(_OpenLane(session, lane, route, now, taken))
    changes |= {lane_id: LaneChange("", worker.id, worker.device_name) for lane_id, worker in devices.made.items()}
    lanes.change(session, changes)
    in_flight.update(running_of)
    for priority in sorted(by_priority, reverse=True):
        campaigns = by_priority[priority]

        def send_one(campaign_id: str, open_lanes: dict[str, deque[_OpenLane]] = campaigns) -> bool:
            mine = open_lanes[campaign_id]
            while mine:
                if (chosen := mine[0].next()) is not None:
                    taken.chosen.append(chosen)
                    in_flight[campaign_id] += 1
                    return True
                mine.popleft()
            return False

        deal({campaign_id: in_flight[campaign_id] for campaign_id in campaigns}, send_one)
    jobs.mark_dispatched(session, [(one.job, one.place.queue, one.place.capability) for one in taken.chosen], now)
    return taken


class _Routes:
    """Finds the route of each kind of job, once per turn, however many lanes have jobs of that kind."""

    def __init__(self, windows: Windows, living: Fleet, quarantined: Fleet) -> None:
        self._windows, self._living, self._quarantined = windows, living, quarantined
        self._requires: dict[str, Requirements] = {}  # the requirements by their stored JSON, which thousands of lanes may have in common
        self._found: dict[tuple[int, str, str | None, bool, str], tuple[Route | None, str]] = {}

    def of(self, lane: Lane, chosen: KnownWorker | None) -> tuple[Route | None, str]:
        """Return the route of a lane's jobs and an empty text, or None and what the jobs wait for.

        Args:
            chosen: the device that takes all jobs of the lane, if this turn has chosen one. Before, it is in the lane.

        Raises:
            Unreadable: this version cannot read the lane's requirements.
        """
        needs = json.dumps(lane.requires, sort_keys=True)
        if needs not in self._requires:
            self._requires[needs] = read_requirements(lane.requires)
        requires = self._requires[needs]
        device = chosen.id if chosen is not None else lane.device
        key = (lane.priority, lane.compute_unit, device, lane.one_device, needs)
        if key not in self._found:
            places, reason = self._places(lane, device, requires)
            self._found[key] = (Route(places, lane.priority, self._windows) if places else None, reason)
        return self._found[key]

    def _places(self, lane: Lane, device: str | None, requires: Requirements) -> tuple[list[Place], str]:
        if not lane.one_device:
            return places_for(lane.compute_unit, device, requires, self._living, self._quarantined)
        if device is None:  # no worker can take the jobs now
            return [], places_for(lane.compute_unit, None, requires, Fleet(), self._quarantined)[1]
        need = Need(lane.compute_unit, requires)
        if (place := place_of(need, device, self._living)) is not None:
            return [place], ""
        return [], waits_for_chosen(need, device, lane.device_name, {worker.id for worker in self._quarantined.workers})


class _OpenLane:
    """Reads the sendable jobs of one lane, a page at a time."""

    def __init__(self, session: Session, lane: Lane, route: Route, now: datetime, taken: Taken) -> None:
        assert lane.id is not None
        self._session, self._lane_id, self._priority = session, lane.id, lane.priority
        self._route, self._now, self._taken = route, now, taken
        self._page: deque[Job] = deque()
        self._size = FIRST_JOBS
        self._last = 0
        self._ended = False

    def next(self) -> Chosen | None:
        """Return the lane's next job and where it goes, or None if there is no room for it or no job is left."""
        while (
            len(self._taken.unreadable) < MOST_UNREADABLE
            and (place := self._route.next()) is not None
            and (job := self._next_job()) is not None
        ):
            try:
                workload = read_workload(job.workload)
            except Unreadable as error:
                self._taken.unreadable.append(UnreadableJob(job.id, job.attempt, str(error)))
            else:
                self._route.add(place)
                if job.priority != self._priority:  # it was changed while the job was in a queue, and the job has come back
                    job.priority = self._priority
                return Chosen(job, workload, place)
        return None

    def _next_job(self) -> Job | None:
        if not self._page and not self._ended:
            self._page.extend(jobs.next_in_lane(self._session, self._lane_id, self._now, self._size, after=self._last))
            self._ended = len(self._page) < self._size
            self._last = (self._page[-1].position or 0) if self._page else self._last
            self._size = min(4 * self._size, MOST_JOBS)
        return self._page.popleft() if self._page else None


def _open_lanes(session: Session, now: datetime) -> Iterator[tuple[Lane, int]]:
    last: Lane | None = None
    seen: set[int | None] = set()  # a lane whose priority has just been lowered is on two pages
    while True:
        page = jobs.open_lanes(session, now, LANES_AT_ONCE, last)
        yield from ((lane, running) for lane, running in page if lane.id not in seen)
        seen.update(lane.id for lane, _ in page)
        if len(page) < LANES_AT_ONCE:
            return
        last = page[-1][0]


def _jobs_of(session: Session, lane: Lane, now: datetime, why: str) -> list[UnreadableJob]:
    assert lane.id is not None
    return [UnreadableJob(job.id, job.attempt, why) for job in jobs.next_in_lane(session, lane.id, now, MOST_JOBS)]
