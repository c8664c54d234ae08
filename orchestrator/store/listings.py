"""What long lists show: a few columns instead of whole rows, a page at a time."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import defer
from sqlmodel import Session, col

from orchestrator.store.tables import Campaign, Job, ResultRow
from shared.errors import NotFound
from shared.jobs import TERMINAL

# A recipe may list 100 000 jobs: whoever shows a campaign does not read it.
_WITHOUT_RECIPE = defer(col(Campaign.recipe), raiseload=True)  # type: ignore[arg-type]  # SQLModel types columns as values


def campaign(session: Session, campaign_id: str) -> Campaign:
    """A campaign without its recipe.

    Raises:
        NotFound: no such campaign.
    """
    statement = select(Campaign).where(col(Campaign.id) == campaign_id).options(_WITHOUT_RECIPE)
    found = session.scalars(statement).one_or_none()
    if found is None:
        raise NotFound(f"no campaign has the id {campaign_id!r}; GET /api/campaigns lists them")
    return found


def campaign_page(session: Session, *, status: str | None = None, before: str | None = None, limit: int = 100) -> list[Campaign]:
    """Campaigns without their recipes, newest first (ids sort by time), from behind `before`."""
    statement = select(Campaign).options(_WITHOUT_RECIPE).order_by(col(Campaign.id).desc()).limit(limit)
    if status is not None:
        statement = statement.where(col(Campaign.status) == status)
    if before is not None:
        statement = statement.where(col(Campaign.id) < before)
    return list(session.scalars(statement))


class JobHead(NamedTuple):
    """A job as a list of its campaign's shows it."""

    number: int
    job_id: str
    compute_unit: str
    status: str
    model: str
    capability: str | None
    worker_id: str | None
    attempt: int
    error: str | None


def job_heads(session: Session, campaign_id: str, *, after: int = 0, limit: int = 100) -> list[JobHead]:
    """Jobs of a campaign in their order, behind number `after`. Columns, not objects: a tenth of the time.

    Numbers run from 1 without gaps, so the page is a range of them: right after a large campaign was written, PostgreSQL
    has no statistics of it yet and would sort all of it for a plain LIMIT.
    """
    columns: list[Any] = [
        *(Job.number, Job.id, Job.compute_unit, Job.status, Job.model_name, Job.capability, Job.worker_id, Job.attempt, Job.error)
    ]
    number = col(Job.number)
    statement = select(*columns).where(col(Job.campaign_id) == campaign_id, number > after, number <= after + limit).order_by(number)
    return [JobHead(*item) for item in session.execute(statement)]


class EndedLine(NamedTuple):
    """An ended job's place, and what was kept for it; None for a job that no device answered for."""

    number: int
    kept: Any


def ended_page(session: Session, campaign_id: str, column: str, *, after: int, limit: int) -> list[EndedLine]:
    """Ended jobs among the `limit` numbers behind `after`, with `row` or `line` of their results. A range, as above."""
    kept: Any = getattr(ResultRow, column)
    number = col(Job.number)
    statement = (
        select(number, kept)
        .select_from(Job)
        .outerjoin(ResultRow, col(ResultRow.job_id) == col(Job.id))
        .where(col(Job.campaign_id) == campaign_id, number > after, number <= after + limit)
        .where(col(Job.status).in_([str(status) for status in TERMINAL]))
        .order_by(number)
    )
    return [EndedLine(*item) for item in session.execute(statement)]


def jobs_by_number(session: Session, campaign_id: str, numbers: list[int]) -> dict[int, Job]:
    statement = select(Job).where(col(Job.campaign_id) == campaign_id, col(Job.number).in_(numbers))
    return {job.number: job for job in session.scalars(statement)}
