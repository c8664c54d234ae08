"""Holds the queries on the keys that workers sign their reports with."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import select, text, update
from sqlmodel import Session, col

from orchestrator.store.tables import WorkerKey


def get(session: Session, worker_id: str) -> WorkerKey | None:
    return session.get(WorkerKey, worker_id)


def get_or_add(session: Session, worker_id: str, secret: str) -> WorkerKey:
    """Return a worker's key, locked for the rest of the transaction. If it has none yet, add one with this secret.

    If another transaction adds a key at the same time, the key that was stored first is returned.
    """
    statement = text("INSERT INTO worker_keys (worker_id, secret, ended) VALUES (:worker_id, :secret, false) ON CONFLICT DO NOTHING")
    session.execute(statement, {"worker_id": worker_id, "secret": secret})
    return session.scalars(select(WorkerKey).where(col(WorkerKey.worker_id) == worker_id).with_for_update()).one()


def secrets_of(session: Session, worker_ids: Collection[str]) -> dict[str, str]:
    """Return the secrets of these workers, by worker id. Workers without a key are left out."""
    statement = select(col(WorkerKey.worker_id), col(WorkerKey.secret)).where(col(WorkerKey.worker_id).in_(worker_ids))
    return {row.worker_id: row.secret for row in session.execute(statement)}


def end(session: Session, worker_ids: Collection[str]) -> None:
    """Mark keys as ended. Reports signed with them still count, until their workers enrol again and get new keys."""
    session.execute(update(WorkerKey).where(col(WorkerKey.worker_id).in_(worker_ids)).values(ended=True))
