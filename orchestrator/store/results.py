"""Queries on results and uploaded models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import insert, null, select
from sqlmodel import Session, col

from orchestrator.store.tables import Job, ModelFile, ResultRow
from shared.errors import NotFound
from shared.jobs import TERMINAL

PAGE = 2_000  # rows held in memory while streaming


class EndedJob(NamedTuple):
    """An ended job and, when it has one, the row and the whole of its result."""

    job: Job
    row: dict[str, Any] | None
    result: dict[str, Any] | None


def get(session: Session, job_id: str) -> ResultRow | None:
    return session.get(ResultRow, job_id)


def insert_many(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        session.connection().execute(insert(ResultRow.__table__), rows)  # type: ignore[attr-defined]  # untyped in SQLModel


def ended(session: Session, campaign_id: str, *, whole: bool = False) -> Iterator[EndedJob]:
    """Ended jobs of a campaign in their order, a page at a time: memory does not grow with the campaign.

    Args:
        whole: with the whole result beside the CSV row.
    """
    columns: list[Any] = [Job, col(ResultRow.row), col(ResultRow.result) if whole else null()]
    after = 0
    while True:
        statement = (
            select(*columns)
            .select_from(Job)
            .outerjoin(ResultRow, col(ResultRow.job_id) == col(Job.id))
            .where(col(Job.campaign_id) == campaign_id, col(Job.number) > after, col(Job.status).in_([str(s) for s in TERMINAL]))
            .order_by(col(Job.number))
            .limit(PAGE)
        )
        found = session.execute(statement).all()
        yield from (EndedJob(*item) for item in found)
        if len(found) < PAGE:
            return
        after = found[-1][0].number
        session.expunge_all()


def model(session: Session, sha256: str) -> ModelFile:
    """
    Raises:
        NotFound: nothing with this content was uploaded.
    """
    found = session.get(ModelFile, sha256)
    if found is None:
        raise NotFound(f"no model with SHA-256 {sha256} was uploaded; POST /api/models takes one")
    return found
