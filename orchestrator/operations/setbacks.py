"""Decides what follows an attempt that ended badly: the job's next attempt, or its failure with the whole history."""

from __future__ import annotations

import random
from typing import Literal

from sqlmodel import Session

from orchestrator.domain.events import EventKind
from orchestrator.domain.lifecycle import Setback, next_try, story
from orchestrator.store import jobs
from orchestrator.store.moves import LockedJob, Moves


def set_back(
    session: Session, moves: Moves, job: LockedJob, kind: Literal[EventKind.LOST, EventKind.DIED], what: str, worker_id: str | None
) -> str | None:
    """Count a setback, and put the job back for its next attempt if it may have one.

    The setback is added to the job's history either way.

    Returns:
        None if the job went back, else why it has failed for good. In that case the caller must change its status.
    """
    losses, deaths = job.losses + (kind == EventKind.LOST), job.deaths + (kind == EventKind.DIED)
    moves.note(job, kind, what, worker_id=worker_id)
    jitter = random.random()  # noqa: S311 (spreads retries; not a secret)
    not_before = next_try(losses=losses, deaths=deaths, max_attempts=job.max_attempts, now=moves.now, jitter=jitter)
    if not_before is not None:
        moves.again(job, losses=losses, deaths=deaths, not_before=not_before)
        return None
    moves.set(job, losses=losses, deaths=deaths)
    history = [*jobs.history(session, job.id), *moves.notes(job)]
    setbacks = [
        Setback(event.attempt, event.detail, event.worker_id) for event in history if event.kind in (EventKind.LOST, EventKind.DIED)
    ]
    if len(setbacks) == 1:
        return what
    verdict = f"{losses} workers were lost to it" if kind == EventKind.LOST else f"{deaths} attempts broke down"
    return story(verdict, setbacks)
