"""Holds the queries on campaigns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, Text, case, delete, func, literal, select, text, type_coerce, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import defer
from sqlmodel import Session, col

from orchestrator.store.jobs import UNDISPATCHED
from orchestrator.store.tables import Campaign, Event, FigureRow, Job, Lane, ResultRow
from orchestrator.store.types import constant, where_json
from shared.errors import NotFound
from shared.ids import first_campaign_id
from shared.jobs import CampaignStatus

PAGE = 20  # the number of ended campaigns in one query; the files of each take about a second to write

# A recipe may list 100 000 jobs, so queries that only show a campaign do not read it.
_WITHOUT_RECIPE = defer(col(Campaign.recipe), raiseload=True)  # type: ignore[arg-type]  # SQLModel types columns as values


def get(session: Session, campaign_id: str, *, recipe: bool = False) -> Campaign:
    """Return a campaign. Its recipe is loaded only if `recipe` is True.

    Raises:
        NotFound: there is no such campaign.
    """
    statement = select(Campaign).where(col(Campaign.id) == campaign_id)
    found = session.scalars(statement if recipe else statement.options(_WITHOUT_RECIPE)).one_or_none()
    if found is None:
        raise no_campaign(campaign_id)
    return found


def no_campaign(campaign_id: str) -> NotFound:
    return NotFound(f"no campaign has the id {campaign_id!r}; GET /api/campaigns lists them")


def first_workload(session: Session, campaign_id: str) -> Any:
    """Return the stored workload of a campaign's first job. All jobs of a campaign have one kind of work.

    Raises:
        NotFound: there is no such campaign.
    """
    found = session.scalars(select(col(Job.workload)).where(col(Job.campaign_id) == campaign_id, col(Job.number) == 1)).all()
    if not found:
        raise no_campaign(campaign_id)
    return found[0]


def by_idempotency_key(session: Session, key: str) -> Campaign | None:
    return session.scalars(select(Campaign).where(col(Campaign.idempotency_key) == key)).one_or_none()


def page(
    session: Session,
    *,
    status: str | None = None,
    labels: Iterable[tuple[str, str]] = (),
    before: str | None = None,
    limit: int = 100,
) -> list[Campaign]:
    """Return campaigns older than `before`, without their recipes, newest first (ids sort by time).

    Args:
        labels: names and values of labels that the campaigns must have, all of them.
    """
    statement = select(Campaign).options(_WITHOUT_RECIPE).order_by(col(Campaign.id).desc()).limit(limit)
    statement = statement.where(*_wanted(session, status, labels))
    if before is not None:
        statement = statement.where(col(Campaign.id) < before)
    return list(session.scalars(statement))


def count(session: Session, *, status: str | None = None, labels: Iterable[tuple[str, str]] = ()) -> int:
    """Return how many campaigns `page` lists on all pages together."""
    return session.scalar(select(func.count()).select_from(Campaign).where(*_wanted(session, status, labels))) or 0


def _wanted(session: Session, status: str | None, labels: Iterable[tuple[str, str]]) -> list[ColumnElement[bool]]:
    wanted = [] if status is None else [col(Campaign.status) == status]
    return wanted + [_has_label(session, name, value) for name, value in labels]


def _has_label(session: Session, name: str, value: str) -> ColumnElement[bool]:
    """Return the condition that a campaign has this label. The name may hold any character, so it is no part of a path in the statement."""
    if session.connection().dialect.name == "postgresql":
        return type_coerce(col(Campaign.labels), JSONB).contains({name: value})
    readable = case((func.json_valid(col(Campaign.labels)) == 1, col(Campaign.labels)), else_="{}")
    each = func.json_each(type_coerce(readable, Text)).table_valued("key", "value", name="label")
    return select(literal(1)).select_from(each).where(each.c.key == name, each.c.value == value).exists()


def change(session: Session, campaign_id: str, *, name: str | None, labels: Mapping[str, str] | None) -> None:
    """Give a campaign another name or other labels. What is None stays.

    Raises:
        NotFound: there is no such campaign.
    """
    values: dict[str, Any] = {"id": campaign_id}
    values |= {} if name is None else {"name": name}
    values |= {} if labels is None else {"labels": dict(labels)}
    done: CursorResult[Any] = session.connection().execute(
        update(Campaign.__table__).where(col(Campaign.id) == campaign_id).values(values)  # type: ignore[attr-defined]  # untyped in SQLModel
    )
    if not done.rowcount:
        raise no_campaign(campaign_id)


def set_priority(session: Session, campaign_id: str, priority: int) -> int:
    """Give the jobs of a campaign that are not in a queue yet another priority. Return how many these are.

    A job that comes back from its queue, or is retried, takes the priority of its lane when it is sent.
    """
    waiting = (col(Job.campaign_id) == campaign_id, *UNDISPATCHED)
    # rows are locked in the order that all transactions use
    session.execute(select(col(Job.id)).where(*waiting).order_by(col(Job.id)).with_for_update())
    session.execute(update(Lane).where(col(Lane.campaign_id) == campaign_id).values(priority=priority))
    done: CursorResult[Any] = session.connection().execute(
        update(Job.__table__).where(*waiting).values(priority=priority)  # type: ignore[attr-defined]  # untyped in SQLModel
    )
    return done.rowcount


def unreported(session: Session, *, before: str | None = None) -> list[str]:
    """Return the ids of up to `PAGE` ended campaigns older than `before` whose files are not written yet, newest first."""
    statement = (
        select(col(Campaign.id))
        .where(col(Campaign.status) != CampaignStatus.RUNNING, col(Campaign.reported_at).is_(None), col(Campaign.ended_at).is_not(None))
        .order_by(col(Campaign.id).desc())
        .limit(PAGE)
    )
    if before is not None:
        statement = statement.where(col(Campaign.id) < before)
    return list(session.scalars(statement))


def report_again(session: Session, campaign_ids: Iterable[str]) -> list[str]:
    """Make the files of ended campaigns be written again. Return the ids of those that have ended.

    Their end moves by a microsecond, so that whoever is just writing their files does not take them for written (`finish`).
    """
    found = []
    for campaign_id in sorted(set(campaign_ids)):
        mine = col(Campaign.id) == campaign_id
        ended_at = session.scalars(select(col(Campaign.ended_at)).where(mine).with_for_update()).one_or_none()
        if ended_at is not None:
            session.execute(update(Campaign).where(mine).values(reported_at=None, ended_at=ended_at + timedelta(microseconds=1)))
            found.append(campaign_id)
    return found


def close(session: Session, campaign_id: str, now: datetime) -> None:
    """End a campaign as cancelled. Do nothing if it has an unfinished job: jobs of a cancelled campaign are not dispatched."""
    session.execute(
        update(Campaign)
        .where(col(Campaign.id) == campaign_id, col(Campaign.pending_jobs) + col(Campaign.running_jobs) == 0)
        .values(status=str(CampaignStatus.CANCELLED), ended_at=now)
    )


def recipe_parts(session: Session, campaign_ids: Iterable[str]) -> dict[str, tuple[Any, Any, Any]]:
    """Return `sweep`, `models` and `options` from the recipe of each campaign, without reading the whole recipe."""
    recipe = col(Campaign.recipe)
    parts = [where_json(session, recipe, recipe[name]) for name in ("sweep", "models", "options")]
    columns: list[Any] = [col(Campaign.id), *parts]
    statement = select(*columns).where(col(Campaign.id).in_(sorted(campaign_ids)))
    return {campaign_id: (sweep, models, options) for campaign_id, sweep, models, options in session.execute(statement)}


def totals(session: Session) -> tuple[dict[str, int], dict[str, int]]:
    """Return the number of campaigns by status, and the number of jobs by status. Jobs are summed from the campaigns' counters."""
    campaigns = {
        str(status): int(count) for status, count in session.execute(select(col(Campaign.status), func.count()).group_by("status"))
    }
    names = ("pending", "running", "complete", "failed", "cancelled")
    sums = session.execute(select(*(func.coalesce(func.sum(getattr(Campaign, f"{name}_jobs")), 0) for name in names))).one()
    return campaigns, {name: int(value) for name, value in zip(names, sums, strict=True)}


def oldest_pending_at(session: Session) -> datetime | None:
    """Return when the oldest pending job was submitted, or None if no job is pending. Only the first entry of an index is read."""
    pending = (col(Job.status) == "pending",)
    statement = select(col(Job.created_at)).where(*pending).order_by(col(Job.campaign_id), col(Job.number)).limit(1)
    return session.scalars(statement).first()


def unplaceable(session: Session) -> dict[str, int]:
    """Return for each compute unit how many lanes of running campaigns have jobs that no worker can take at present."""
    statement = (
        select(col(Lane.compute_unit), func.count())
        .join(Campaign, col(Campaign.id) == col(Lane.campaign_id))
        .where(col(Campaign.status) == constant(CampaignStatus.RUNNING), col(Lane.waiting_for) != "")
        .group_by(col(Lane.compute_unit))
    )
    return {str(unit): int(number) for unit, number in session.execute(statement)}


def ended_before(session: Session, moment: datetime, *, limit: int) -> list[Campaign]:
    """Return the campaigns that ended before this moment, without their recipes, oldest first.

    A campaign that ended before it was also created before it, so only the oldest ids are read.
    """
    statement = (
        select(Campaign)
        .options(_WITHOUT_RECIPE)
        .where(col(Campaign.id) < first_campaign_id(moment), col(Campaign.status) != CampaignStatus.RUNNING)
        .where(col(Campaign.ended_at) < moment)
        .order_by(col(Campaign.id))
        .limit(limit)
    )
    return list(session.scalars(statement))


def delete_ended(session: Session, campaign_id: str) -> bool:
    """Delete a campaign with its jobs, results and history, unless it is running. Return whether it was deleted.

    The order is that of all transactions, jobs before their campaign, so a retry of one of its jobs does not deadlock with this.
    """
    first = select(col(Campaign.status)).where(col(Campaign.id) == campaign_id)
    list(session.execute(select(col(Job.id)).where(col(Job.campaign_id) == campaign_id).order_by(col(Job.id)).with_for_update()))
    status = session.scalars(first.with_for_update()).first()
    if status is None or status == CampaignStatus.RUNNING:
        return False
    of_jobs = select(col(Job.id)).where(col(Job.campaign_id) == campaign_id)
    session.execute(delete(Event).where(col(Event.job_id).in_(of_jobs)))
    for table in (FigureRow, ResultRow, Job, Lane):
        session.execute(delete(table).where(col(table.campaign_id) == campaign_id))
    session.execute(delete(Campaign).where(col(Campaign.id) == campaign_id))
    return True


def delete_all(session: Session) -> tuple[int, int, int]:
    """Delete every campaign, job and result. Return how many of each there were."""
    counts = [session.scalar(select(func.count()).select_from(table)) or 0 for table in (Campaign, Job, ResultRow)]
    if session.connection().dialect.name == "postgresql":
        # A DELETE would search all jobs for those of each lane: that takes a minute for 5 000 lanes with 100 000 jobs.
        session.execute(text("TRUNCATE campaigns, lanes, jobs, results, figures, events"))
    else:
        for table in (Event, FigureRow, ResultRow, Job, Lane, Campaign):
            session.execute(delete(table))
    return counts[0], counts[1], counts[2]
