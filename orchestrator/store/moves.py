"""Changes the status of jobs, and the counters of their campaigns with it. Only this module changes the status of an existing job.

`operations.submit` and `store.retries` add new jobs and count them. `store.campaigns.close` closes a cancelled campaign.
Every transaction locks rows in the same order, so that none of them deadlock: jobs first, by id, then campaigns, by id.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import CursorResult, bindparam, case, select, update
from sqlalchemy.event import listen
from sqlmodel import Session, col

from orchestrator.domain.events import EventKind
from orchestrator.domain.lifecycle import check_step
from orchestrator.store.bulk import insert_many
from orchestrator.store.tables import Campaign, Event, Job
from shared.errors import IllegalTransition
from shared.jobs import TERMINAL, CampaignStatus, JobStatus

log = logging.getLogger(__name__)

ID_BATCH = 5_000  # the most ids in one statement
MANY = 20  # from this many jobs with the same change, one statement updates them all

MANY_LINES = 200  # a transaction logs at most so many entries one by one


@dataclass
class LockedJob:
    """Holds a job's row, locked for the rest of the transaction. `Moves` keeps its values up to date."""

    id: str
    campaign_id: str
    number: int
    compute_unit: str
    model_name: str
    status: str
    attempt: int
    max_attempts: int
    losses: int
    deaths: int
    workload: dict[str, Any]
    created_at: datetime
    dispatched_at: datetime | None
    queue: str | None
    capability: str | None
    block_timeout_s: float | None
    worker_id: str | None
    incarnation: str | None
    started_at: datetime | None
    deadline_at: datetime | None


_LOCKED = [field.name for field in fields(LockedJob)]


def lock_jobs(session: Session, job_ids: Iterable[str]) -> dict[str, LockedJob]:
    """Lock jobs in the order of their ids, and return them by id. Unknown ids are left out."""
    ids = sorted(set(job_ids))
    found: dict[str, LockedJob] = {}
    columns = [getattr(Job, name) for name in _LOCKED]
    for start in range(0, len(ids), ID_BATCH):
        statement = select(*columns).where(col(Job.id).in_(ids[start : start + ID_BATCH])).order_by(col(Job.id)).with_for_update()
        found |= {row[0]: LockedJob(*row) for row in session.execute(statement)}
    return found


class Moves:
    """Collects changes of locked jobs. `flush` writes them all."""

    def __init__(self, session: Session, now: datetime) -> None:
        self._session = session
        self.now = now
        self._first_seen: dict[str, str] = {}  # job -> its status when it was locked
        self._changes: dict[str, dict[str, Any]] = defaultdict(dict)  # all changes of one job become one update
        self._deltas: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self._events: list[dict[str, Any]] = []

    def step(self, job: LockedJob, wanted: JobStatus, **changes: Any) -> None:
        """Give a locked job another status, and set further columns.

        Raises:
            IllegalTransition: the table of states does not allow this step.
        """
        check_step(job.id, job.status, wanted)
        if wanted in TERMINAL:
            changes.setdefault("ended_at", self.now)
        self._change(job, seen=job.status, status=str(wanted), **changes)

    def again(self, job: LockedJob, *, not_before: datetime | None = None, **changes: Any) -> None:
        """Put a locked, unfinished job back as its next attempt: pending and not dispatched. Set further columns.

        Args:
            not_before: when the job may be sent; now if left out. Its queue timeout counts from then on.
        """
        changes |= {"attempt": job.attempt + 1, "not_before": not_before or self.now, "dispatched_at": None, "queue": None}
        changes |= {
            "block": None,
            "block_timeout_s": None,
            "capability": None,
            "worker_id": None,
            "incarnation": None,
            "started_at": None,
            "deadline_at": None,
        }
        if job.status != JobStatus.PENDING:
            check_step(job.id, job.status, JobStatus.PENDING)
        self._change(job, seen=job.status, status=str(JobStatus.PENDING), **changes)

    def set(self, job: LockedJob, **changes: Any) -> None:
        """Set columns of a locked job without changing its status."""
        self._change(job, seen=job.status, status=job.status, **changes)

    def note(self, job: LockedJob, kind: EventKind, detail: str = "", *, attempt: int | None = None, worker_id: str | None = None) -> None:
        """Add an event to a job's history. The detail is cut to 20 000 characters."""
        event = {"at": self.now, "job_id": job.id, "attempt": attempt or job.attempt, "kind": str(kind)}
        self._events.append(event | {"worker_id": worker_id, "detail": detail[:20_000]})

    def notes(self, job: LockedJob) -> list[Event]:
        """Return the events that were added to a job's history and are not written yet."""
        return [Event(**event) for event in self._events if event["job_id"] == job.id]

    def _change(self, job: LockedJob, *, seen: str, **changes: Any) -> None:
        self._first_seen.setdefault(job.id, seen)
        self._changes[job.id] |= changes
        if seen != changes["status"]:
            self._deltas[job.campaign_id][f"{seen}_jobs"] -= 1
            self._deltas[job.campaign_id][f"{changes['status']}_jobs"] += 1
        for name in changes.keys() & _LOCKED:
            setattr(job, name, changes[name])

    def flush(self) -> list[str]:
        """Write all collected changes. Call this once, at the end of the transaction.

        Returns:
            The ids of the campaigns that have ended with these changes.

        Raises:
            IllegalTransition: a row has changed in spite of its lock. The transaction must be rolled back.
        """
        connection = self._session.connection()
        same: dict[tuple[str, tuple[tuple[str, Any], ...]], list[str]] = defaultdict(list)
        for job_id, changes in self._changes.items():
            same[self._first_seen[job_id], tuple(sorted(changes.items()))].append(job_id)
        alike: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
        for (seen, change), job_ids in same.items():
            if len(job_ids) >= MANY:  # for example a cancelled campaign: one statement instead of one per job
                self._update_all(job_ids, seen, dict(change))
                continue
            bound = {"b_seen": seen, **{f"b_{name}": value for name, value in change}}
            alike[tuple(name for name, _ in change)] += [{"b_id": job_id, **bound} for job_id in job_ids]
        for names, rows in alike.items():
            statement = (
                update(Job.__table__)  # type: ignore[attr-defined]  # SQLModel does not type `__table__`
                .where(col(Job.id) == bindparam("b_id"), col(Job.status) == bindparam("b_seen"))
                .values({name: bindparam(f"b_{name}") for name in names})
            )
            _require(connection.execute(statement, rows).rowcount, len(rows))
        insert_many(self._session, Event, self._events)
        if self._events and log.isEnabledFor(logging.INFO):
            listen(self._session, "after_commit", lambda _: log_events(self._events), once=True)
        return [campaign_id for campaign_id in sorted(self._deltas) if self._count(campaign_id, self._deltas[campaign_id])]

    def _update_all(self, job_ids: Sequence[str], seen: str, changes: dict[str, Any]) -> None:
        for start in range(0, len(job_ids), ID_BATCH):
            some = job_ids[start : start + ID_BATCH]
            statement = (
                update(Job.__table__)  # type: ignore[attr-defined]  # SQLModel does not type `__table__`
                .where(col(Job.id).in_(some), col(Job.status) == seen)
                .values(changes)
            )
            done: CursorResult[Any] = self._session.connection().execute(statement)
            _require(done.rowcount, len(some))

    def _count(self, campaign_id: str, deltas: dict[str, int]) -> bool:
        """Change a campaign's counters. Return whether it has no unfinished job left."""
        columns = Campaign.__table__.c  # type: ignore[attr-defined]  # SQLModel does not type `__table__`
        left = columns.pending_jobs + columns.running_jobs + deltas.get("pending_jobs", 0) + deltas.get("running_jobs", 0)
        over = (left == 0) & (columns.status == CampaignStatus.RUNNING)
        values: dict[Any, Any] = {columns[name]: columns[name] + delta for name, delta in deltas.items() if delta}
        values[columns.status] = case((over, str(CampaignStatus.COMPLETED)), else_=columns.status)
        values[columns.ended_at] = case((left == 0, bindparam("now", self.now, type_=columns.ended_at.type)), else_=columns.ended_at)
        connection = self._session.connection()
        statement = update(Campaign.__table__).where(columns.id == campaign_id).values(values)  # type: ignore[attr-defined]  # as above
        done: CursorResult[Any] = connection.execute(statement)
        if done.rowcount != 1:
            raise IllegalTransition(f"campaign {campaign_id} was removed while its jobs changed; nothing was written")
        state = connection.execute(select(columns.pending_jobs + columns.running_jobs).where(columns.id == campaign_id)).scalar_one()
        return bool(state == 0)


def log_events(events: Sequence[dict[str, Any]]) -> None:
    """Log what was written into the histories of jobs, so that a job can be followed in the log. Many entries at once become one line."""
    if len(events) > MANY_LINES:
        kinds = ", ".join(f"{count} × {kind}" for kind, count in Counter(event["kind"] for event in events).items())
        log.info("the histories of %d jobs, %s to %s, have new entries: %s", len(events), events[0]["job_id"], events[-1]["job_id"], kinds)
        return
    for event in events:
        who = f" ({event['worker_id']})" if event["worker_id"] else ""
        detail = f": {event['detail']}" if event["detail"] else ""
        ids = {"job_id": event["job_id"], "worker_id": event["worker_id"]}
        log.info("attempt %d of %s: %s%s%s", event["attempt"], event["job_id"], event["kind"], who, detail, extra=ids)


def _require(done: int, wanted: int) -> None:
    if done != wanted:
        raise IllegalTransition(f"{wanted - done} of {wanted} jobs changed under a lock; nothing was written")


def cancel_steps(moves: Moves, jobs: Sequence[LockedJob], reason: str) -> list[str]:
    """Cancel the locked jobs that have not ended. Return their ids."""
    cancelled = []
    for job in jobs:
        if JobStatus(job.status) not in TERMINAL:
            moves.step(job, JobStatus.CANCELLED, error=reason, error_kind=EventKind.CANCELLED.value)
            moves.note(job, EventKind.CANCELLED, reason)
            cancelled.append(job.id)
    return cancelled
