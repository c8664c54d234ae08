"""Runs one turn of dispatch: chooses which jobs leave the table now, and the queue that each of them goes to."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime

from sqlmodel import Session

from orchestrator.domain.one_device import Need, place_of, waits_for_chosen
from orchestrator.domain.placement import Fleet, KnownWorker, Place, places_for, waits_for
from orchestrator.domain.stored import Unreadable, read_needs, read_requirements
from orchestrator.domain.windows import Route, Windows, deal
from orchestrator.domain.work_needs import WorkNeeds
from orchestrator.operations.chosen_devices import ChosenDevices
from orchestrator.operations.open_lanes import MOST_JOBS, Chosen, OpenCampaign, OpenLane, Taken
from orchestrator.operations.unreadable import UnreadableJob
from orchestrator.store import lanes, turns
from orchestrator.store.lanes import LaneChange
from orchestrator.store.tables import Lane
from shared.capabilities import resolve_stored, worker_queue
from shared.recipes import Requirements

LANES_AT_ONCE = 500  # the page size; a turn reads all pages, because lanes of absent or busy devices send nothing


def take(session: Session, now: datetime, living: Fleet, quarantined: Fleet) -> Taken:
    """Choose the jobs to send and write that into the table. The order is priority, then fair share between campaigns, then age.

    On PostgreSQL only one process does this at a time. Otherwise two processes together could fill a queue beyond its window.
    """
    if not turns.lock_windows(session):
        return Taken(busy=True)
    waiting = turns.waiting(session)
    windows = Windows(living, [(item.queue, item.priority, item.jobs) for item in waiting])
    in_flight: Counter[str] = Counter()
    for item in waiting:
        in_flight[item.campaign_id] += item.jobs
    taken = Taken()
    running_of: dict[str, int] = {}
    blocks = {worker_queue(worker.id): worker.max_block for worker in living.workers if worker.max_block > 1}
    by_priority: dict[int, dict[str, OpenCampaign]] = defaultdict(lambda: defaultdict(lambda: OpenCampaign(blocks)))
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
            is_bound = device is not None or lane.device is not None
            by_priority[lane.priority][lane.campaign_id].add(OpenLane(session, lane, route, is_bound, now, taken))
    changes |= {lane_id: LaneChange("", worker.id, worker.device_name) for lane_id, worker in devices.made.items()}
    lanes.change(session, changes)
    in_flight.update(running_of)
    for priority in sorted(by_priority, reverse=True):
        campaigns = by_priority[priority]

        def send_one(campaign_id: str, open_campaigns: dict[str, OpenCampaign] = campaigns) -> int:
            message = open_campaigns[campaign_id].next()
            if message:
                taken.messages.append(message)
                in_flight[campaign_id] += len(message)
            return len(message)

        deal({campaign_id: in_flight[campaign_id] for campaign_id in campaigns}, send_one)
    turns.mark_dispatched(session, [sent for message in taken.messages for sent in _sent(message)], now)
    return taken


def _sent(message: Sequence[Chosen]) -> Iterator[turns.Sent]:
    first, is_block = message[0].job, len(message) > 1
    block = f"{first.id}.{first.attempt}" if is_block else None
    timeout_s = sum(one.workload.timeout_s for one in message) if is_block else None
    return (turns.Sent(one.job.id, one.place.queue, one.place.capability, block, timeout_s) for one in message)


class _Routes:
    """Finds the route of each kind of job, once per turn, however many lanes have jobs of that kind."""

    def __init__(self, windows: Windows, living: Fleet, quarantined: Fleet) -> None:
        self._windows, self._living, self._quarantined = windows, living, quarantined
        # What lanes need, by its stored JSON, which thousands of lanes may have in common.
        self._needs: dict[str, tuple[Requirements, WorkNeeds]] = {}
        self._found: dict[tuple[int, str, str | None, bool, str], tuple[Route | None, str]] = {}

    def of(self, lane: Lane, chosen: KnownWorker | None) -> tuple[Route | None, str]:
        """Return the route of a lane's jobs and an empty text, or None and what the jobs wait for.

        Args:
            chosen: the device that takes all jobs of the lane, if this turn has chosen one. Before, it is in the lane.

        Raises:
            Unreadable: this version cannot read what the lane needs.
        """
        needs = json.dumps([lane.requires, lane.needs], sort_keys=True)
        if needs not in self._needs:
            self._needs[needs] = (read_requirements(lane.requires), read_needs(lane.needs))
        device = chosen.id if chosen is not None else lane.device
        key = (lane.priority, lane.compute_unit, device, lane.one_device, needs)
        if key not in self._found:
            places, reason = self._places(lane, device, *self._needs[needs])
            self._found[key] = (Route(places, lane.priority, self._windows) if places else None, reason)
        return self._found[key]

    def _places(self, lane: Lane, device: str | None, requires: Requirements, work: WorkNeeds) -> tuple[list[Place], str]:
        if not lane.one_device:
            return places_for(lane.compute_unit, device, requires, self._living, self._quarantined, work)
        if device is None:  # no worker can take the jobs now
            return [], waits_for(resolve_stored(lane.compute_unit), None, requires, work, self._quarantined)
        need = Need(lane.compute_unit, requires, work)
        if (place := place_of(need, device, self._living)) is not None:
            return [place], ""
        return [], waits_for_chosen(need, device, lane.device_name, {worker.id for worker in self._quarantined.workers})


def _open_lanes(session: Session, now: datetime) -> Iterator[tuple[Lane, int]]:
    last: Lane | None = None
    seen: set[int | None] = set()  # a lane whose priority has just been lowered is on two pages
    while True:
        page = turns.open_lanes(session, now, LANES_AT_ONCE, last)
        yield from ((lane, running) for lane, running in page if lane.id not in seen)
        seen.update(lane.id for lane, _ in page)
        if len(page) < LANES_AT_ONCE:
            return
        last = page[-1][0]


def _jobs_of(session: Session, lane: Lane, now: datetime, why: str) -> list[UnreadableJob]:
    assert lane.id is not None
    return [UnreadableJob(job.id, job.attempt, why) for job in turns.next_in_lane(session, lane.id, now, MOST_JOBS)]
