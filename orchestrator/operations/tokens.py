"""Makes, finds and revokes bearer tokens.

The store keeps the SHA-256 of a secret, never the secret itself. Slow, salted hashes (bcrypt, Argon2) are meant for passwords: people
choose passwords, so they can be guessed, and a slow hash makes each guess expensive. These secrets are 256 random bits. Guessing one takes
about 2^255 tries whatever a try costs. No two secrets are equal, and no precomputed table of hashes can hold them. So a fast hash loses
nothing, and an index on the hash lets us check a call in microseconds.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from datetime import datetime, timedelta

from sqlmodel import Session

from orchestrator.operations.context import Context
from orchestrator.store import tokens
from orchestrator.store.tables import Token
from shared.errors import Conflict, Unavailable
from shared.ids import new_token_id
from shared.tokens import MADE, PREFIX, Role

log = logging.getLogger(__name__)

SECRET_BYTES = 32
USE_NOTED_EVERY = timedelta(hours=1)  # `last_used_at` only helps to find unused tokens, so it is not worth one write per call


def hash_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def create_token(ctx: Context, name: str, role: Role, valid_days: int | None = None) -> tuple[Token, str]:
    """Make a token. Return its row and its secret. The secret cannot be shown again."""
    now = ctx.clock.now()
    secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    expires_at = now + timedelta(days=valid_days) if valid_days is not None else None
    row = Token(id=new_token_id(now), name=name, role=role, secret_hash=hash_of(secret), created_at=now, expires_at=expires_at)

    def write(session: Session) -> Token:
        return session.merge(row)

    token = ctx.store.transact(write)
    log.info("token %s made: %s, %r", token.id, role, name)
    return token, secret


def require_an_administrator(ctx: Context) -> None:
    """Check that an administrator's token exists. Call this before another kind of token is made through the API.

    Raises:
        Conflict: there is none, so with this token the API would be closed to everyone who could make another one.
    """
    if ctx.settings.token is None and not is_administered(ctx):
        raise Conflict(
            "the first token has to be an administrator's: from the moment there is one, every call needs one, and only "
            "an administrator can make more. Make it with the role 'admin', then use it to make this one"
        )


def is_administered(ctx: Context) -> bool:
    """Return whether the store holds a usable token with the role `admin`."""
    with ctx.store.read() as session:
        return tokens.any_usable(session, Role.ADMIN, ctx.clock.now())


def are_there_tokens(ctx: Context) -> bool:
    with ctx.store.read() as session:
        return tokens.any_unrevoked(session)


def revoke_token(ctx: Context, token_id: str) -> Token:
    """Revoke a token. A token that is already revoked keeps its first revocation time.

    Raises:
        NotFound: no such token.
    """

    def write(session: Session) -> Token:
        tokens.get(session, token_id)
        tokens.revoke(session, token_id, ctx.clock.now())
        session.expire_all()
        return tokens.get(session, token_id)

    token = ctx.store.transact(write)
    log.info("token %s revoked: %s, %r", token.id, token.role, token.name)
    return token


def find_token(ctx: Context, secret: str) -> Token | None:
    """Return the token with this secret if it can be used now, else None. Note that it was used.

    Raises:
        Unavailable: the database does not answer.
    """
    if not MADE.fullmatch(secret):
        return None  # we make no tokens of this form, so no query is needed
    with ctx.store.read() as session:
        found = tokens.by_hash(session, hash_of(secret))
    now = ctx.clock.now()
    if found is None or found.revoked_at is not None or not is_valid(found.expires_at, now):
        return None
    if found.last_used_at is None or now - found.last_used_at >= USE_NOTED_EVERY:
        _note_use(ctx, found.id, now)
    return found


def is_valid(expires_at: datetime | None, now: datetime) -> bool:
    return expires_at is None or now < expires_at


def _note_use(ctx: Context, token_id: str, now: datetime) -> None:
    try:
        ctx.store.transact(lambda session: tokens.note_use(session, token_id, now))
    except Unavailable as error:
        log.warning("the use of %s is not noted, the next one will be: %s", token_id, error.detail)  # for example a read-only database
