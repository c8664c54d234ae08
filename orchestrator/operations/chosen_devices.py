"""Chooses, in a turn of dispatch, the devices of lanes whose jobs all go to one device (`devices: one`).

The choice is written in the transaction that sends the first job. Only one process at a time runs a turn, and the write names what it
replaces, so a lane never gets two devices.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress

from sqlmodel import Session

from orchestrator.domain.one_device import Chooser, Need
from orchestrator.domain.placement import Fleet, KnownWorker
from orchestrator.domain.stored import Unreadable, read_needs, read_requirements
from orchestrator.domain.windows import Windows
from orchestrator.store import lanes, turns
from orchestrator.store.tables import Lane


class ChosenDevices:
    """Chooses the devices of the lanes whose jobs all go to one device. `made` holds the choices of this turn, by the lane's id."""

    def __init__(self, session: Session, windows: Windows, living: Fleet, opened: Sequence[Lane]) -> None:
        self._session, self._windows, self._living, self._opened = session, windows, living, opened
        self._chooser: Chooser | None = None
        self._unchosen: dict[str, list[tuple[int, Need]]] = defaultdict(list)  # by campaign
        self.made: dict[int, KnownWorker] = {}

    def of(self, lane: Lane) -> tuple[KnownWorker | None, str]:
        """Return the device that this turn has chosen for a lane, if it has, and an empty text. Or None and what the lane waits for.

        All lanes of the campaign that this device can serve get it at once.

        Raises:
            Unreadable: this version cannot read what the lane needs.
        """
        assert lane.id is not None
        if not lane.one_device or lane.device is not None:
            return None, ""
        if lane.id not in self.made:
            mine = _need_of(lane)
            chooser = self._ready()
            others = [
                (lane_id, need) for lane_id, need in self._unchosen[lane.campaign_id] if lane_id not in self.made and lane_id != lane.id
            ]
            worker, reason = chooser.choose([mine, *(need for _, need in others)])
            if worker is None:
                return None, reason
            self.made |= {lane.id: worker} | {lane_id: worker for lane_id, need in others if need.met_by(worker)}
        return self.made[lane.id], ""

    def _ready(self) -> Chooser:
        """Return the chooser. It and the lanes without a device are read when the first lane needs them."""
        if self._chooser is None:
            aimed = [lane.device for lane in self._opened if lane.device is not None]
            self._chooser = Chooser(self._windows, self._living, turns.working_on(self._session), aimed)
            for lane in lanes.unchosen(self._session):
                with suppress(Unreadable):  # it has no say here; its own turn ends its jobs
                    self._unchosen[lane.campaign_id].append((lane.id or 0, _need_of(lane)))
        return self._chooser


def _need_of(lane: Lane) -> Need:
    return Need(lane.compute_unit, read_requirements(lane.requires), read_needs(lane.needs))
