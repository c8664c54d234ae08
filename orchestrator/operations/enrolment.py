"""What a worker gets when it enrols, the broker's address with a login, and what becomes of it when it is removed."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit, urlunsplit

from sqlmodel import Session

from orchestrator.operations.context import Context
from orchestrator.store import jobs
from orchestrator.store.moves import Moves, lock_jobs
from shared.jobs import JobStatus
from shared.tls import without_files


def broker_for(ctx: Context, worker_id: str, capabilities: Sequence[str]) -> str:
    """The broker's address for one worker: with a login of its own if the settings say so, else with the one they name.

    Raises:
        LoginsNotMade: Redis does not let this process make logins.
        Unavailable: Redis does not answer.
    """
    url = without_files(ctx.settings.worker_redis_url or ctx.settings.redis_url)
    if not ctx.settings.broker_logins:
        return url
    user, password = ctx.registry.logins.give(worker_id, capabilities)
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{parts.netloc.rpartition('@')[2]}"))


def remove(ctx: Context, worker_id: str) -> None:
    """Take a worker out: its state is `gone`, its login ends, what it was running goes back with the next attempt.

    Raises:
        NotFound: no worker has this id.
        Unavailable: Redis or the database does not answer; a repeat finishes the rest.
    """
    ctx.registry.remove(worker_id)
    if ctx.settings.broker_logins:
        ctx.registry.logins.take_away([worker_id])

    def write(session: Session) -> None:
        moves = Moves(session, ctx.clock.now())
        for job in lock_jobs(session, [job.id for job in jobs.running_on(session, worker_id)]).values():
            if job.status == JobStatus.RUNNING and job.worker_id == worker_id:
                moves.note(job, "handed_back", f"{worker_id} was removed", worker_id=worker_id)
                moves.again(job, losses=job.losses)
        moves.flush()

    ctx.store.transact(write)
