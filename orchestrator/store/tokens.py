"""Holds the queries on bearer tokens."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import or_, select, update
from sqlmodel import Session, col

from orchestrator.store.tables import Token
from shared.errors import NotFound


def get(session: Session, token_id: str) -> Token:
    """Return a token.

    Raises:
        NotFound: there is no such token.
    """
    found = session.get(Token, token_id)
    if found is None:
        raise NotFound(f"no token has the id {token_id!r}; GET /api/tokens lists them")
    return found


def by_hash(session: Session, secret_hash: str) -> Token | None:
    return session.scalars(select(Token).where(col(Token.secret_hash) == secret_hash)).one_or_none()


def page(session: Session, *, revoked: bool, before: str | None = None, limit: int = 100) -> list[Token]:
    """Return tokens older than `before`, newest first (ids sort by time). Revoked tokens are included only if `revoked` is True."""
    statement = select(Token).order_by(col(Token.id).desc()).limit(limit)
    if not revoked:
        statement = statement.where(col(Token.revoked_at).is_(None))
    if before is not None:
        statement = statement.where(col(Token.id) < before)
    return list(session.scalars(statement))


def any_unrevoked(session: Session) -> bool:
    """Return whether there is a token that is not revoked. An expired token counts too: it must not open the API to everyone again."""
    return session.scalars(select(col(Token.id)).where(col(Token.revoked_at).is_(None)).limit(1)).first() is not None


def any_usable(session: Session, role: str, now: datetime) -> bool:
    """Return whether a token with this role is usable now."""
    statement = select(col(Token.id)).where(col(Token.role) == role, col(Token.revoked_at).is_(None))
    return session.scalars(statement.where(or_(col(Token.expires_at).is_(None), col(Token.expires_at) > now)).limit(1)).first() is not None


def revoke(session: Session, token_id: str, now: datetime) -> None:
    """Revoke a token. A token that is already revoked keeps its first revocation time."""
    session.execute(update(Token).where(col(Token.id) == token_id, col(Token.revoked_at).is_(None)).values(revoked_at=now))


def note_use(session: Session, token_id: str, now: datetime) -> None:
    session.execute(update(Token).where(col(Token.id) == token_id).values(last_used_at=now))
