"""Holds the queries on uploaded models that removal needs. `results` has those that read them."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import delete as delete_rows
from sqlalchemy import select
from sqlmodel import Session, col

from orchestrator.store.bulk import BATCH
from orchestrator.store.tables import Job, ModelFile
from orchestrator.store.types import where_json
from shared.kinds.registry import KINDS

_ROLES = sorted({role for kind in KINDS.values() for role in (*kind.roles, *kind.optional_roles)})


def created_before(session: Session, moment: datetime) -> list[ModelFile]:
    """Return the models whose first upload was before this moment, oldest first."""
    return list(session.scalars(select(ModelFile).where(col(ModelFile.created_at) < moment).order_by(col(ModelFile.created_at))))


def used(session: Session, *, since: str | None = None) -> set[str]:
    """Return the SHA-256 of every file that a job names, models and the files beside them.

    The database reads all jobs for that, and returns each different model once.

    Args:
        since: read only campaigns from this id on.
    """
    found: set[str] = set()
    for role in _ROLES:
        named = where_json(session, col(Job.workload), col(Job.workload)[role])
        statement = select(named).distinct()
        if since is not None:
            statement = statement.where(col(Job.campaign_id) >= since)
        found.update(sha256 for (content,) in session.execute(statement) for sha256 in _named(content))
    return found


def _named(content: Any) -> list[str]:
    """Return the hashes in the stored model of a job. Rows of other versions may have another shape."""
    if not isinstance(content, dict):
        return []
    companions = content.get("companions")
    files = [content, *(companions if isinstance(companions, list) else [])]
    return [str(file["sha256"]) for file in files if isinstance(file, dict) and file.get("sha256")]


def lock_for_removal(session: Session, sha256: str) -> bool:
    """Lock a model until the transaction ends, so that no campaign that names it is committed meanwhile. Return whether it exists."""
    return session.scalars(select(col(ModelFile.sha256)).where(col(ModelFile.sha256) == sha256).with_for_update()).first() is not None


def lock_for_use(session: Session, hashes: Collection[str]) -> set[str]:
    """Keep these models from being removed until the transaction ends. Return those that exist."""
    wanted = sorted(hashes)
    found: set[str] = set()
    for start in range(0, len(wanted), BATCH):
        some = col(ModelFile.sha256).in_(wanted[start : start + BATCH])
        statement = select(col(ModelFile.sha256)).where(some).order_by(col(ModelFile.sha256)).with_for_update(read=True)
        found.update(session.scalars(statement))
    return found


def delete(session: Session, sha256: str) -> None:
    session.execute(delete_rows(ModelFile).where(col(ModelFile.sha256) == sha256))
