"""Who calls: from what a request carries to a role, in most cases without asking the database.

**What is remembered.** A token that was right is looked up again after `FRESH_S`: one that another process has revoked is refused that
much later at most; one revoked through this process, at once. While the database is away, what was right stays right for `STALE_S`.

**Wrong tokens** count against their address (`failures`). An address with too many hears 429, and what it sends is not looked at, so a
guesser does not learn whether a guess was right. But behind one address there may be a whole laboratory: tokens that were right *from
there* within `STALE_S` go on working, and a neighbour's mistakes lock out nobody who was at work. A token that is new at that address
waits for as long as the failures go on. A call without any token guesses nothing, and is not counted.
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
REMEMBERED = 10_000  # tokens times addresses, the least recently used go


@dataclass(frozen=True)
class Caller:
    """Whose token a call carries; `name` is empty where none is needed."""

    name: str
    role: Role
    token_id: str | None = None
    expires_at: datetime | None = None


ANYONE = Caller("", Role.ADMIN)  # on a loopback without tokens


@dataclass
class _Seen:
    caller: Caller
    fresh_until: float
    stale_until: float


class Credentials:
    """What one process knows of tokens. Used from its event loop alone."""

    def __init__(self, ctx: Context, *, always: bool) -> None:
        """
        Args:
            always: a token is needed even while there is none, as the API can be reached from elsewhere.
        """
        self._ctx = ctx
        token = ctx.settings.token
        self._configured = token.get_secret_value().encode() if token is not None else None
        self._always = always or token is not None
        self._needed: bool | None = None
        self._needed_until = 0.0
        self._failures = Failures(ctx.clock)
        self._seen: OrderedDict[tuple[str, bytes], _Seen] = OrderedDict()
        self._changes = 0  # by this process: what was asked of the database before the last one is not remembered

    def made(self) -> None:
        """This process has made a token: one is needed from now on."""
        self._changes += 1
        self._needed, self._needed_until = True, 0.0

    def revoked(self, token_id: str) -> None:
        """This process has revoked a token: nothing vouches for it any more, at no address, and no look-up that is on its way will."""
        self._changes += 1
        self._needed_until = 0.0
        for key in [key for key, seen in self._seen.items() if seen.caller.token_id == token_id]:
            del self._seen[key]

    async def are_needed(self) -> bool:
        """Whether a call must carry a token: one is configured or in the store, or the API is open to the network.

        Raises:
            Unavailable: the database does not answer and never has: it may hold tokens, so nobody is let in.
        """
        now = self._ctx.clock.monotonic()
        if self._always:
            return True
        needed = self._needed
        if now >= self._needed_until:
            changes = self._changes
            if needed is not None:
                self._needed_until = now + FRESH_S  # calls in the meantime go on with the old answer
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
        """Whose token this is.

        Raises:
            Unauthorized: none, or none that counts.
            TooManyFailures: not looked at: too many from there were wrong.
            Unavailable: the database does not answer, and this token was not right in the last minutes.
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
            known.fresh_until = self._ctx.clock.monotonic() + FRESH_S  # calls in the meantime go on with what is known
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
