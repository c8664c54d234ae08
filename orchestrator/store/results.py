"""Holds the queries on results and uploaded models."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import select
from sqlmodel import Session, col

from orchestrator.store.tables import Job, ModelFile, ResultRow
from orchestrator.store.types import where_json
from shared.errors import NotFound
from shared.jobs import TERMINAL

PAGE = 1_000  # the number of job numbers in one query, and so the most rows in memory at once


def get(session: Session, job_id: str) -> ResultRow | None:
    return session.get(ResultRow, job_id)


def ended_page(session: Session, campaign_id: str, *columns: Any, after: int) -> list[Any]:
    """Return columns of ended jobs and of their results, in the order of the jobs, for the `PAGE` job numbers behind `after`.

    The result columns are None for a job without a result. Numbers run from 1 without gaps, so a page is a range of numbers.
    PostgreSQL finds a range quickly even without statistics, as right after a campaign was written.
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


def first_workload(session: Session, campaign_id: str) -> Any:
    """Return the stored workload of the first job of a campaign, or None if there is no such campaign."""
    return session.scalars(select(col(Job.workload)).where(col(Job.campaign_id) == campaign_id, col(Job.number) == 1)).first()


def models(session: Session, hashes: Collection[str]) -> dict[str, ModelFile]:
    """Return the uploaded models with these SHA-256 hashes, by hash. Hashes that were not uploaded are left out."""
    wanted = sorted(hashes)
    found: dict[str, ModelFile] = {}
    for start in range(0, len(wanted), PAGE):
        statement = select(ModelFile).where(col(ModelFile.sha256).in_(wanted[start : start + PAGE]))
        found |= {row.sha256: row for row in session.scalars(statement)}
    session.expunge_all()
    return found


def devices(session: Session, campaign_id: str) -> list[tuple[str, str]]:
    """Return (worker id, device name) of the workers that the results of a campaign came from."""
    name = where_json(session, col(ResultRow.row), col(ResultRow.row)["DeviceName"].as_string())
    statement = select(col(ResultRow.worker_id), name).where(col(ResultRow.campaign_id) == campaign_id).distinct()
    return sorted((worker_id, str(device or "")) for worker_id, device in session.execute(statement))


def model(session: Session, sha256: str) -> ModelFile:
    """Return an uploaded model.

    Raises:
        NotFound: no model with this hash was uploaded.
    """
    found = session.get(ModelFile, sha256)
    if found is None:
        raise NotFound(f"no model with SHA-256 {sha256} was uploaded; POST /api/models takes one")
    return found
