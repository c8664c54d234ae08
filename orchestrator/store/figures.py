"""Holds the queries on figures: lists of them, jobs sorted by one, and what is left to do for results of earlier versions."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, delete, literal, select, text, tuple_, update
from sqlmodel import Session, col

from orchestrator.store.job_lists import count_rows, wanted_jobs
from orchestrator.store.tables import Campaign, FigureRow, Job, ResultRow
from orchestrator.store.types import where_json
from shared.errors import FieldError, NotFound
from shared.figures import Better
from shared.jobs import JobStatus

_KEY = (col(FigureRow.campaign_id), col(FigureRow.number), col(FigureRow.name))
_OF_JOB = (col(Job.campaign_id) == col(FigureRow.campaign_id), col(Job.number) == col(FigureRow.number))


class ListedFigure(NamedTuple):
    """Holds one row of a list of figures. `model` is what lists call the job."""

    job_id: str
    campaign_id: str
    number: int
    name: str
    value: float
    low: float | None
    high: float | None
    unit: str
    better: str
    created_at: datetime
    model: str
    worker_id: str | None


class Unfigured(NamedTuple):
    """Holds a result without figures."""

    number: int
    workload: Any
    result: Any
    recorded_at: datetime


def page(
    session: Session,
    *,
    campaign_id: str | None = None,
    number: int | None = None,
    name: str | None = None,
    model: str | None = None,
    worker_id: str | None = None,
    device: str | None = None,
    since: datetime | None = None,
    after: tuple[str, int, str] | None = None,
    limit: int = 100,
) -> list[ListedFigure]:
    """Return the figures behind `after` (campaign, job's number, name).

    With `name`, the newest come first. Else the figures of one campaign come job by job, those of all campaigns the newest campaign
    first. Each order is that of an index.

    Args:
        model: what lists call the job: for an inference, the name of its model.
        worker_id, device: only figures of this worker, or of the devices with this name.

    Raises:
        NotFound: `after` is a figure that does not exist any more.
    """
    columns: list[Any] = [getattr(FigureRow, field) for field in ListedFigure._fields[:10]]
    statement = select(*columns, col(Job.model_name), col(Job.worker_id)).join(Job, (_OF_JOB[0]) & (_OF_JOB[1])).limit(limit)
    for column, wanted in (
        (col(FigureRow.campaign_id), campaign_id),
        (col(FigureRow.number), number),
        (col(FigureRow.name), name),
        (col(Job.model_name), model),
        (col(Job.worker_id), worker_id),
    ):
        if wanted is not None:
            statement = statement.where(column == wanted)
    if since is not None:
        statement = statement.where(col(FigureRow.created_at) >= since)
    if device is not None:
        statement = statement.join(ResultRow, col(ResultRow.job_id) == col(Job.id))
        statement = statement.where(where_json(session, col(ResultRow.row), col(ResultRow.row)["DeviceName"].as_string()) == device)
    if name is not None:
        key: tuple[Any, ...] = (col(FigureRow.created_at), col(FigureRow.campaign_id), col(FigureRow.number))
        order = [column.desc() for column in key]
        behind = tuple_(*key) < tuple_(literal(_at(session, after), key[0].type), *after[:2]) if after is not None else None
    elif campaign_id is not None:
        order = list(_KEY[1:])
        behind = tuple_(*_KEY[1:]) > tuple_(*after[1:]) if after is not None else None
    else:
        order = [column.desc() for column in _KEY]
        behind = tuple_(*_KEY) < tuple_(*after) if after is not None else None
    if behind is not None:
        statement = statement.where(behind)
    return [ListedFigure(*row) for row in session.execute(statement.order_by(*order))]


def delete_of_job(session: Session, campaign_id: str, number: int, names: Collection[str]) -> None:
    """Delete the figures of one job that have these names."""
    of_job = (col(FigureRow.campaign_id) == campaign_id, col(FigureRow.number) == number)
    session.execute(delete(FigureRow).where(*of_job, col(FigureRow.name).in_(sorted(names))))


def _at(session: Session, after: tuple[str, int, str]) -> datetime:
    return _known(session, after).created_at


def _known(session: Session, key: tuple[str, int, str]) -> FigureRow:
    found = session.get(FigureRow, key)
    if found is None:
        message = "the figure that this cursor names does not exist any more; leave it out to begin again"
        raise NotFound(f"cursor: {message}", fields=[FieldError("query.cursor", message)])
    return found


def sorted_jobs(
    session: Session,
    name: str,
    *,
    largest_first: bool,
    campaign_id: str | None = None,
    status: str | None = None,
    worker_id: str | None = None,
    since: datetime | None = None,
    after: tuple[str, int] | None = None,
    limit: int = 100,
) -> list[tuple[Job, FigureRow]]:
    """Return the jobs that have this figure, sorted by it, behind the job `after` (campaign, number). Equal values come by job.

    Raises:
        NotFound: the job `after` has no such figure any more.
    """
    key = (col(FigureRow.value), col(FigureRow.campaign_id), col(FigureRow.number))
    statement = select(Job, FigureRow).join(FigureRow, (_OF_JOB[0]) & (_OF_JOB[1])).limit(limit)
    statement = statement.where(*_sorted_by(name, campaign_id, status, worker_id, since))
    statement = statement.order_by(*(column.desc() if largest_first else column for column in key))
    if after is not None:
        last = (_known(session, (*after, name)).value, *after)
        statement = statement.where(tuple_(*key) < tuple_(*last) if largest_first else tuple_(*key) > tuple_(*last))
    return [(job, figure) for job, figure in session.execute(statement)]


def count_sorted(
    session: Session,
    name: str,
    *,
    campaign_id: str | None = None,
    status: str | None = None,
    worker_id: str | None = None,
    since: datetime | None = None,
) -> int | None:
    """Return how many jobs `sorted_jobs` lists on all pages together, or None if they are more than `MOST_COUNTED`."""
    rows = select(literal(1)).select_from(FigureRow).join(Job, (_OF_JOB[0]) & (_OF_JOB[1]))
    return count_rows(session, rows.where(*_sorted_by(name, campaign_id, status, worker_id, since)))


def _sorted_by(
    name: str, campaign_id: str | None, status: str | None, worker_id: str | None, since: datetime | None
) -> list[ColumnElement[bool]]:
    of_campaign = [] if campaign_id is None else [col(FigureRow.campaign_id) == campaign_id]  # it is a column of the index on figures
    return [col(FigureRow.name) == name, *of_campaign, *wanted_jobs(None, status, worker_id, since)]


def names(session: Session) -> dict[str, Better]:
    """Return the names of all figures in the table, each with the better direction. It reads one entry of an index for each name.

    A plain DISTINCT would read every row.
    """
    statement = text(
        "WITH RECURSIVE known(name) AS (SELECT min(name) FROM figures UNION ALL"
        " SELECT (SELECT min(name) FROM figures WHERE name > known.name) FROM known WHERE known.name IS NOT NULL)"
        " SELECT name, (SELECT better FROM figures WHERE figures.name = known.name LIMIT 1) FROM known WHERE name IS NOT NULL"
    )
    return {str(name): better for name, better in session.execute(statement)}


def due(session: Session) -> str | None:
    """Return the newest campaign with results of an earlier version that have no figures yet, or None."""
    statement = select(col(Campaign.id)).where(col(Campaign.figures_due)).order_by(col(Campaign.id).desc()).limit(1)
    return session.scalars(statement).first()


def without_figures(session: Session, campaign_id: str, *, after: int, limit: int) -> list[Unfigured]:
    """Return results of complete jobs that have no figures, in the order of the jobs' numbers. The jobs are kept from being deleted."""
    figured = select(literal(1)).where(col(FigureRow.campaign_id) == campaign_id, col(FigureRow.number) == col(ResultRow.number)).exists()
    statement = (
        select(col(ResultRow.number), col(Job.workload), col(ResultRow.result), col(ResultRow.recorded_at))
        .join(Job, col(Job.id) == col(ResultRow.job_id))
        .where(col(ResultRow.campaign_id) == campaign_id, col(ResultRow.number) > after, ~figured)
        .where(col(Job.status) == JobStatus.COMPLETE)
        .order_by(col(ResultRow.number))
        .limit(limit)
        .with_for_update(read=True, key_share=True, of=Job)
    )
    return [Unfigured(*row) for row in session.execute(statement)]


def mark_filled(session: Session, campaign_id: str) -> None:
    """Note that all results of a campaign have figures."""
    session.execute(update(Campaign).where(col(Campaign.id) == campaign_id).values(figures_due=False))
