"""Recognises that Redis is unavailable, and turns this into one kind of error."""

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
# A Sentinel gives this answer to nearly every command.
_UNKNOWN_COMMAND = re.compile(r"\bunknown command\b", re.IGNORECASE)
_LOGIN = "correct the login in its address, or make the logins again if Redis has lost them in a restart (`fleetmark redis-acl --apply`)"
# redis-py has no classes for these errors. MISCONF: Redis cannot write its snapshot or log to disk. NOREPLICAS: a failover is not
# finished. BUSY and UNKILLABLE: a script blocks the server.
_AWAY_BY_NAME = re.compile(r"\b(?:MISCONF|NOREPLICAS|BUSY|UNKILLABLE) ")


def is_away(error: redis.RedisError) -> bool:
    """Return whether the error comes from the state of Redis and not from the command. The same command may succeed later."""
    return isinstance(error, _AWAY) or _AWAY_BY_NAME.search(str(error)) is not None


@contextmanager
def answering(who: str) -> Iterator[None]:
    """Turn errors that mean "Redis is unavailable" into `Unavailable` within a `with` block. Other errors pass through.

    Args:
        who: the name of the server, which begins the message.

    Raises:
        Unavailable: Redis cannot be used now, or does not know a command.
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
        raise Unavailable(not_answering(who, error)) from error


def not_answering(who: str, error: Exception) -> str:
    """Return the sentence for an error that means "Redis is unavailable", with what to do. Waiting does not mend a wrong login."""
    login = isinstance(error, redis.AuthenticationError)
    return f"{who} does not answer: {str(error).removesuffix('.')}; {_LOGIN if login else 'try again in a moment'}"


def once_more() -> Retry:
    """Return the retry policy of a client that is used rarely.

    It retries once if the connection is broken, because a pooled connection may have died unnoticed. It does not retry after a timeout.
    """
    return Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
