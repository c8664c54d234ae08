"""Holds the queries on lanes that a turn of dispatch changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import CursorResult, bindparam, or_, select, update
from sqlmodel import Session, col

from orchestrator.store.tables import Campaign, Lane
from orchestrator.store.types import constant
from shared.errors import IllegalTransition
from shared.jobs import CampaignStatus


class LaneChange(NamedTuple):
    """Holds what a turn of dispatch writes of a lane. `device` and `device_name` are None if no device was chosen for the lane before."""

    waiting_for: str
    device: str | None
    device_name: str | None


def unchosen(session: Session) -> list[Lane]:
    """Return the lanes of running campaigns whose jobs all go to one device that is still to be chosen, in the order of their ids."""
    statement = (
        select(Lane)
        .join(Campaign, col(Campaign.id) == col(Lane.campaign_id))
        .where(col(Lane.one_device), col(Lane.device).is_(None), col(Campaign.status) == constant(CampaignStatus.RUNNING))
        .order_by(col(Lane.id))
    )
    return list(session.scalars(statement))


def change(session: Session, changes: Mapping[int, LaneChange]) -> None:
    """Write what lanes wait for, and the devices that were chosen for them.

    Rows are written in the order of their ids, so that two orchestrators do not deadlock.

    Raises:
        IllegalTransition: another device was chosen for a lane in the meantime, or the lane is gone. The transaction must be rolled back.
    """
    if not changes:
        return
    same_device = or_(col(Lane.device).is_(None), col(Lane.device) == bindparam("b_device"))
    statement = (
        update(Lane.__table__)  # type: ignore[attr-defined]  # untyped in SQLModel
        .where(col(Lane.id) == bindparam("b_id"), same_device)
        .values(waiting_for=bindparam("b_waiting_for"), device=bindparam("b_device"), device_name=bindparam("b_device_name"))
    )
    rows = [{"b_id": lane_id, **{f"b_{name}": value for name, value in changes[lane_id]._asdict().items()}} for lane_id in sorted(changes)]
    done: CursorResult[Any] = session.connection().execute(statement, rows)
    if done.rowcount != len(rows):
        raise IllegalTransition(f"{len(rows) - done.rowcount} of {len(rows)} lanes changed during a turn of dispatch; nothing was sent")
