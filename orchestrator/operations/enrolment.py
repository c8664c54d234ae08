"""Gives an enrolling worker the broker's address, a login and a key, and takes them away when the worker is removed."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import Session

from orchestrator.domain.events import EventKind
from orchestrator.operations.context import Context
from orchestrator.operations.tokens import is_valid
from orchestrator.store import in_flight, tokens, worker_keys
from orchestrator.store.moves import Moves, lock_jobs
from orchestrator.store.tables import WorkerKey
from shared.addresses import with_login
from shared.errors import Forbidden
from shared.ids import worker_id_of
from shared.jobs import JobStatus
from shared.protocol.signatures import new_key
from shared.tls import without_files


def broker_for(ctx: Context, worker_id: str, capabilities: Sequence[str]) -> str:
    """Return the broker's address for one worker. It holds the worker's own login if `broker_logins` is set, else the configured one.

    Raises:
        LoginsNotMade: Redis does not let this process make logins.
        Unavailable: Redis does not answer.
    """
    url = without_files(ctx.settings.worker_redis_url or ctx.settings.redis_url)
    if not ctx.settings.broker_logins:
        return url
    user, password = ctx.registry.logins.give(worker_id, capabilities)
    return with_login(url, f"{user}:{password}")


def require_its_token(ctx: Context, udid: str, token_id: str | None) -> None:
    """Check that a device enrols with the same token as before. Otherwise any device could ask for the key of any other device.

    Call this before the device is registered.

    Args:
        token_id: the token that the call came with, with the role `worker`; None for an administrator, who may enrol any device.

    Raises:
        Forbidden: the device enrolled with another token, which is still valid.
    """
    if ctx.settings.broker_logins and udid:
        with ctx.store.read() as session:
            _check_token(ctx, session, worker_keys.get(session, worker_id_of(udid)), token_id)


def require_its_worker(ctx: Context, worker_id: str, token_id: str | None) -> None:
    """Check that a call speaks for the worker that enrolled with its token. Its reports are not signed, so only the token proves that.

    Args:
        token_id: as in `require_its_token`.

    Raises:
        Forbidden: the worker enrolled last with another token, even if it was removed since, or that token is no longer valid.
    """
    if not ctx.settings.broker_logins or token_id is None:
        return
    with ctx.store.read() as session:
        key = worker_keys.get(session, worker_id)
    if key is not None and key.token_id not in (None, token_id):
        raise Forbidden(f"{worker_id} enrolled with another token, and only that one may report for it; enrol it with this one first")


def report_key_for(ctx: Context, worker_id: str, token_id: str | None) -> str | None:
    """Return the key that this worker signs its reports with, or None if workers have no logins of their own.

    A worker gets the same key each time it enrols, until it is removed or the token that the key was given to is revoked. With a new
    key, its reports that are still in the results queue no longer verify. So a token that has only expired does not change the key.

    Args:
        token_id: as in `require_its_token`. The key belongs to the first token that asks for it,
            until that token is no longer valid.

    Raises:
        Forbidden: as in `require_its_token`.
        Unavailable: the database does not answer.
    """

    def write(session: Session) -> str:
        key = worker_keys.get_or_add(session, worker_id, new_key())
        _check_token(ctx, session, key, token_id)
        if key.ended or _is_revoked(session, key.token_id):  # whoever had the revoked token may know the key
            key.secret, key.ended, key.token_id = new_key(), False, None
        key.token_id = token_id or key.token_id
        return key.secret

    return ctx.store.transact(write) if ctx.settings.broker_logins else None


def _is_revoked(session: Session, token_id: str | None) -> bool:
    return token_id is not None and tokens.get(session, token_id).revoked_at is not None


def _check_token(ctx: Context, session: Session, key: WorkerKey | None, token_id: str | None) -> None:
    if key is None or key.ended or token_id is None or key.token_id in (None, token_id):
        return
    holder = tokens.get(session, key.token_id)
    if holder.revoked_at is None and is_valid(holder.expires_at, ctx.clock.now()):
        raise Forbidden(
            f"{key.worker_id} enrolled with the token {holder.id} ({holder.name}). As long as that token is valid, no other one may speak "
            f"for it: use it, or have an administrator revoke it first (fleetmark token revoke {holder.id})"
        )


def remove(ctx: Context, worker_id: str) -> None:
    """Remove a worker. Its state becomes `gone`, its login and key end, and the jobs that it was running go back for another attempt.

    Raises:
        NotFound: no worker has this id.
        Unavailable: Redis or the database does not answer. Calling this again finishes the rest.
    """
    ctx.registry.remove(worker_id)
    if ctx.settings.broker_logins:
        ctx.registry.logins.take_away([worker_id])

    def write(session: Session) -> None:
        moves = Moves(session, ctx.clock.now())
        for job in lock_jobs(session, [job.id for job in in_flight.running_on(session, worker_id)]).values():
            if job.status == JobStatus.RUNNING and job.worker_id == worker_id:
                moves.note(job, EventKind.HANDED_BACK, f"{worker_id} was removed", worker_id=worker_id)
                moves.again(job, losses=job.losses)
        moves.flush()
        worker_keys.end(session, [worker_id])

    ctx.store.transact(write)
