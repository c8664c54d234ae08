"""When Redis is away: by which answers both sides know it, and the one error that these answers become."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.backoff import NoBackoff
from redis.exceptions import MasterDownError
from redis.retry import Retry

from shared.errors import Unavailable

_AWAY = (redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError, redis.OutOfMemoryError, MasterDownError)
# What redis-py has no class for: MISCONF is a disk that takes no snapshot or log, NOREPLICAS a failover that is not over,
# BUSY and UNKILLABLE a script that holds the server up.
# A Sentinel answers this to nearly everything.
_UNKNOWN_COMMAND = re.compile(r"\bunknown command\b", re.IGNORECASE)
_AWAY_BY_NAME = re.compile(r"\b(?:MISCONF|NOREPLICAS|BUSY|UNKILLABLE) ")


def is_away(error: redis.RedisError) -> bool:
    """Whether Redis, and not what was asked of it, is what is wrong: the same call may succeed later."""
    return isinstance(error, _AWAY) or _AWAY_BY_NAME.search(str(error)) is not None


@contextmanager
def answering(who: str) -> Iterator[None]:
    """
    Raises:
        Unavailable: Redis is away; `who` begins the sentence.
    """
    try:
        yield
    except redis.RedisError as error:
        if _UNKNOWN_COMMAND.search(str(error)):
            raise Unavailable(
                f"{who} does not know a command that Fleetmark needs ({str(error)[:200]}): is it a Sentinel, or older than 6.2? "
                "Give the address of the Redis itself"
            ) from error
        if not is_away(error):
            raise
        raise Unavailable(f"{who} does not answer: {error}; try again in a moment") from error


def once_more() -> Retry:
    """For a client that is asked rarely: a connection that died in the pool is opened anew; a silent Redis is not asked twice."""
    return Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
