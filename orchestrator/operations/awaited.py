"""Files that a recorded result announced and that are not in their place.

The result stands: its job and its campaign end without them. But its worker is not answered, so that it keeps the files and
sends them again; and the job's history says that they are awaited, and then that they came or were given up. A worker that
died meanwhile is waited for by nobody: when it is back it sends what its spool holds, and if it never is, "awaited" stays
the last word.
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

# Given up after both: a worker sends a result again after 30 s, 60 s … 10 min, each time with its files first. Copies of one message
# that lay in a queue prove nothing of the worker, and an hour in which nobody was there to take a file neither.
TRIES = 8
FILE_WAIT = timedelta(hours=1)

AWAITED, ARRIVED, MISSING = EventKind.FILE_AWAITED, EventKind.FILE_ARRIVED, EventKind.FILE_MISSING


def note_lacks(ctx: Context, lacks: Mapping[AttemptKey, Sequence[Lack]]) -> set[AttemptKey]:
    """Write into the history what of recorded results is not there.

    Args:
        lacks: also those that came again and lack nothing: what was awaited of them has arrived.

    Returns:
        Whose worker is not to be answered yet.

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
        if (job := locked.get(key[0])) is None:  # reset meanwhile
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
    """What is said of a result's files now, and the words for it: none if they were said before."""
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
