"""Queries on results and uploaded models."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import select
from sqlmodel import Session, col

from orchestrator.store.tables import Job, ModelFile, ResultRow
from orchestrator.store.types import where_json
from shared.errors import NotFound
from shared.jobs import TERMINAL

PAGE = 1_000  # jobs looked at, and rows in memory, at a time


def get(session: Session, job_id: str) -> ResultRow | None:
    return session.get(ResultRow, job_id)


def ended_page(session: Session, campaign_id: str, *columns: Any, after: int) -> list[Any]:
    """Columns of the ended jobs, and of their results, among the `PAGE` numbers behind `after`, in the order of the jobs.

    A job that no device answered for has no result: None. Numbers run from 1 without gaps, so a page is a range of them,
    which PostgreSQL finds without statistics of a campaign that was written a moment ago.
    """
    number = col(Job.number)
    statement = (
        select(*columns)
        .select_from(Job)
        .outerjoin(ResultRow, col(ResultRow.job_id) == col(Job.id))
        .where(col(Job.campaign_id) == campaign_id, number > after, number <= after + PAGE)
        .where(col(Job.status).in_([str(status) for status in TERMINAL]))
        .order_by(number)
    )
    return list(session.execute(statement))


def models(session: Session, hashes: Collection[str]) -> dict[str, ModelFile]:
    """Returns those of these contents that were uploaded, by their SHA-256."""
    wanted = sorted(hashes)
    found: dict[str, ModelFile] = {}
    for start in range(0, len(wanted), PAGE):
        statement = select(ModelFile).where(col(ModelFile.sha256).in_(wanted[start : start + PAGE]))
        found |= {row.sha256: row for row in session.scalars(statement)}
    session.expunge_all()
    return found


def devices(session: Session, campaign_id: str) -> list[tuple[str, str]]:
    """Return which workers the results of a campaign came from, each with what its device was called."""
    name = where_json(session, col(ResultRow.row), col(ResultRow.row)["DeviceName"].as_string())
    statement = select(col(ResultRow.worker_id), name).where(col(ResultRow.campaign_id) == campaign_id).distinct()
    return sorted((worker_id, str(device or "")) for worker_id, device in session.execute(statement))


def model(session: Session, sha256: str) -> ModelFile:
    """
    Raises:
        NotFound: nothing with this content was uploaded.
    """
    found = session.get(ModelFile, sha256)
    if found is None:
        raise NotFound(f"no model with SHA-256 {sha256} was uploaded; POST /api/models takes one")
    return found
