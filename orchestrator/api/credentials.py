"""Finds out who makes a call and with which role, in most cases without a query to the database.

**Cache.** A valid token is looked up again after `FRESH_S`. So a token that another process has revoked is refused at most that much
later. A token that this process has revoked is refused at once. While the database is away, a valid token stays valid for `STALE_S`.

**Wrong tokens** count against their address (`failures`). An address with too many of them is answered 429, and its tokens are not checked,
so a guesser does not learn whether a guess was right. But a whole laboratory may share one address. So tokens that were valid *from that
address* within `STALE_S` keep working: mistakes of one person do not lock out the others. A token that is new at that address must wait
while the failures go on. A call without a token guesses nothing, so it is not counted.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime

from anyio import to_thread

from orchestrator.api.failures import Failures
from orchestrator.api.hosts import network_of
from orchestrator.operations.context import Context
from orchestrator.operations.tokens import are_there_tokens, find_token, is_valid
from shared.errors import TooManyFailures, Unauthorized, Unavailable
from shared.tokens import Role

log = logging.getLogger(__name__)

FRESH_S = 5.0
STALE_S = 300.0
REMEMBERED = 10_000  # pairs of token and address; the least recently used one is dropped


@dataclass(frozen=True)
class Caller:
    """Describes the token of a call. `name` is empty if no token is needed."""

    name: str
    role: Role
    token_id: str | None = None
    expires_at: datetime | None = None


ANYONE = Caller("", Role.ADMIN)  # the caller on a loopback address while there are no tokens


@dataclass
class _Seen:
    caller: Caller
    fresh_until: float
    stale_until: float


class Credentials:
    """Caches what one process knows about tokens. Only the event loop may use it."""

    def __init__(self, ctx: Context, *, always: bool) -> None:
        """Start with an empty cache.

        Args:
            always: True if the API can be reached from other machines. A token is then needed even while there is none.
        """
        self._ctx = ctx
        token = ctx.settings.token
        self._configured = token.get_secret_value().encode() if token is not None else None
        self._always = always or token is not None
        self._needed: bool | None = None
        self._needed_until = 0.0
        self._failures = Failures(ctx.clock)
        self._seen: OrderedDict[tuple[str, bytes], _Seen] = OrderedDict()
        self._changes = 0  # counts changes by this process; a query that began before the last change is not cached

    def made(self) -> None:
        """Note that this process has made a token. From now on every call needs one."""
        self._changes += 1
        self._needed, self._needed_until = True, 0.0

    def revoked(self, token_id: str) -> None:
        """Note that this process has revoked a token. Drop it for all addresses. Queries that have already begun are not cached."""
        self._changes += 1
        self._needed_until = 0.0
        for key in [key for key, seen in self._seen.items() if seen.caller.token_id == token_id]:
            del self._seen[key]

    async def are_needed(self) -> bool:
        """Return whether calls need a token: one is configured or in the store, or the API is open to the network.

        Raises:
            Unavailable: the database has not answered since this process began. It may hold tokens, so no call is let in.
        """
        now = self._ctx.clock.monotonic()
        if self._always:
            return True
        needed = self._needed
        if now >= self._needed_until:
            changes = self._changes
            if needed is not None:
                self._needed_until = now + FRESH_S  # meanwhile other calls use the old answer
            try:
                needed = await to_thread.run_sync(are_there_tokens, self._ctx)
            except Unavailable:
                needed = self._needed
                if needed is None:
                    raise
            if changes == self._changes:
                self._needed, self._needed_until = needed, now + FRESH_S
        return bool(needed)

    async def caller(self, address: str, authorization: str) -> Caller:
        """Return the caller that this token belongs to.

        Raises:
            Unauthorized: there is no token, or it is not valid.
            TooManyFailures: too many tokens from this address were wrong. This one was not checked.
            Unavailable: the database does not answer, and this token was not valid within the last `STALE_S`.
        """
        scheme, _, given = authorization.partition(" ")
        given = given.strip()
        if scheme.lower() != "bearer" or not given:
            raise Unauthorized("this orchestrator wants a token: send the header `Authorization: Bearer <token>`")
        network = network_of(address)
        key = (network, hashlib.sha256(given.encode()).digest())
        known = self._remembered(key)
        if known is not None and self._ctx.clock.monotonic() < known.fresh_until:
            return known.caller
        if known is None and (wait_s := self._failures.wait_s(network)):
            raise TooManyFailures(f"too many wrong tokens from {network}; try again in {wait_s} s", wait_s)
        if known is not None:
            known.fresh_until = self._ctx.clock.monotonic() + FRESH_S  # meanwhile other calls use the cached answer
        changes = self._changes
        try:
            found = await self._look_up(given)
        except Unavailable:
            known = self._remembered(key)  # it may have been revoked while we waited
            if known is None:
                raise
            return known.caller
        if found is None:
            self._seen.pop(key, None)
            self._failures.add(network)
            log.warning("a token that is not valid, from %s", network)
            raise Unauthorized(
                "the token in `Authorization: Bearer …` is not valid here: mistyped, expired, or revoked (`fleetmark token list`)"
            )
        if changes == self._changes:
            self._remember(key, found)
        return found

    def _remembered(self, key: tuple[str, bytes]) -> _Seen | None:
        seen = self._seen.get(key)
        if seen is None:
            return None
        if self._ctx.clock.monotonic() >= seen.stale_until or not is_valid(seen.caller.expires_at, self._ctx.clock.now()):
            del self._seen[key]
            return None
        self._seen.move_to_end(key)
        return seen

    def _remember(self, key: tuple[str, bytes], caller: Caller) -> None:
        now = self._ctx.clock.monotonic()
        self._seen[key] = _Seen(caller, now + FRESH_S, now + STALE_S)
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)

    async def _look_up(self, given: str) -> Caller | None:
        if self._configured is not None and hmac.compare_digest(given.encode(), self._configured):
            return Caller("FLEETMARK_TOKEN", Role.ADMIN)
        found = await to_thread.run_sync(find_token, self._ctx, given)
        return Caller(found.name, Role(found.role), found.id, found.expires_at) if found is not None else None
