"""Handles files that a recorded result announced but that are not in their place.

The result counts all the same: its job and its campaign end without the files. But the worker gets no answer, so it keeps the
files and sends them again. The job's history says that the files are awaited, and later that they arrived or were given up.
Nothing waits for a worker that died in the meantime. When it comes back, it sends what its spool holds. If it never comes back,
"awaited" stays the last entry.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta

from sqlmodel import Session

from orchestrator.domain.events import EventKind
from orchestrator.operations.artifacts import Lack
from orchestrator.operations.context import Context
from orchestrator.store import jobs
from orchestrator.store.moves import Moves, lock_jobs
from orchestrator.store.tables import Event
from shared.ids import AttemptKey

log = logging.getLogger(__name__)

# A file is given up when both limits are reached. A worker sends a result again after 30 s, 60 s … 10 min, each time with its files
# first. The number of tries alone is not enough: they may be copies of one message that lay in a queue. The hour alone is not enough
# either: the orchestrator may have been away during that time.
TRIES = 8
FILE_WAIT = timedelta(hours=1)

AWAITED, ARRIVED, MISSING = EventKind.FILE_AWAITED, EventKind.FILE_ARRIVED, EventKind.FILE_MISSING


def note_lacks(ctx: Context, lacks: Mapping[AttemptKey, Sequence[Lack]]) -> set[AttemptKey]:
    """Write into the jobs' histories which files of recorded results are missing.

    Args:
        lacks: attempt -> its missing files. Results that were sent again and lack nothing are included with an empty list: their
            awaited files have arrived.

    Returns:
        The attempts whose workers must not be answered yet.

    Raises:
        Unavailable: the database does not answer.
    """
    return ctx.store.transact(lambda session: _note(session, ctx, lacks)) if lacks else set()


def _note(session: Session, ctx: Context, lacks: Mapping[AttemptKey, Sequence[Lack]]) -> set[AttemptKey]:
    locked = lock_jobs(session, [job_id for job_id, _ in lacks])
    moves = Moves(session, ctx.clock.now())
    earlier: dict[AttemptKey, list[Event]] = defaultdict(list)
    for event in jobs.noted(session, locked, (AWAITED, ARRIVED, MISSING)):
        earlier[event.job_id, event.attempt].append(event)
    unanswered: set[AttemptKey] = set()
    for key, some in lacks.items():
        if (job := locked.get(key[0])) is None:  # the job was deleted by a reset
            continue
        kind, detail = _verdict(some, earlier[key], moves)
        if kind == AWAITED:
            unanswered.add(key)
        if detail:
            log.log(logging.INFO if kind == ARRIVED else logging.WARNING, "attempt %d of %s: %s", key[1], key[0], detail)
            moves.note(job, kind, detail, attempt=key[1])
    moves.flush()
    return unanswered


def _verdict(lacks: Sequence[Lack], earlier: Sequence[Event], moves: Moves) -> tuple[EventKind, str]:
    """Return the event kind for a result's files now, and its text. The text is empty if the history says so already."""
    last = earlier[-1].kind if earlier else ARRIVED
    tries = [event for event in earlier if event.kind == AWAITED]
    what = "; ".join(lack.what for lack in lacks)
    if not lacks:
        return ARRIVED, "" if last == ARRIVED else "its files are there now"
    if last == MISSING:
        return MISSING, ""
    if not any(lack.may_come for lack in lacks):
        return MISSING, f"{what}: left out"
    if len(tries) < TRIES:
        return AWAITED, f"{what}: awaited from its worker"
    if moves.now - tries[0].at < FILE_WAIT:
        return AWAITED, ""
    return MISSING, f"{what}: given up after {len(tries)} tries in {(moves.now - tries[0].at).total_seconds():.0f} s"
