"""Bearer tokens: make, find, revoke.

The store keeps the SHA-256 of a secret, never the secret. A slow, salted hash (bcrypt, Argon2) is for passwords, which people choose and
which can be guessed: it makes each guess cost. These secrets are 256 random bits. Guessing one takes 2^255 tries whatever a try costs, no
two are equal, and no table of hashes made beforehand can hold them; a fast hash loses nothing, and lets a call be checked in microseconds
by an index on the hash.
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
USE_NOTED_EVERY = timedelta(hours=1)  # `last_used_at` is for finding tokens nobody uses: not worth a write a call


def hash_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def create_token(ctx: Context, name: str, role: Role, valid_days: int | None = None) -> tuple[Token, str]:
    """Make a token; the row, and the secret, which cannot be shown again."""
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
    """Before a token other than an administrator's is made through the API.

    Raises:
        Conflict: it would close the API to everyone who could make another.
    """
    if ctx.settings.token is None and not is_administered(ctx):
        raise Conflict(
            "the first token has to be an administrator's: from the moment there is one, every call needs one, and only "
            "an administrator can make more. Make it with the role 'admin', then use it to make this one"
        )


def is_administered(ctx: Context) -> bool:
    """Whether the store holds a usable token with the role `admin`."""
    with ctx.store.read() as session:
        return tokens.any_usable(session, Role.ADMIN, ctx.clock.now())


def are_there_tokens(ctx: Context) -> bool:
    with ctx.store.read() as session:
        return tokens.any_unrevoked(session)


def revoke_token(ctx: Context, token_id: str) -> Token:
    """Take a token back. One that is revoked already stays so.

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
    """The token with this secret, if it can be used now; notes that it was.

    Raises:
        Unavailable: the database does not answer.
    """
    if not MADE.fullmatch(secret):
        return None  # none of ours: not worth a query
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
        log.warning("the use of %s is not noted, the next one will be: %s", token_id, error.detail)  # a database that only reads
