"""The way to Redis: one client a process, and `Unavailable` in place of its errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.errors import Unavailable


class Link:
    """A client that tries once and waits a little: an API call answers 503 rather than hang while Redis is away."""

    def __init__(self, url: str) -> None:
        self.redis: redis.Redis = redis.Redis.from_url(
            url, decode_responses=True, socket_timeout=5, socket_connect_timeout=2, retry=Retry(NoBackoff(), 1), health_check_interval=15
        )

    @contextmanager
    def answering(self) -> Iterator[None]:
        """
        Raises:
            Unavailable: Redis does not answer, or takes no writes.
        """
        try:
            yield
        except (redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError, redis.BusyLoadingError, redis.OutOfMemoryError) as error:
            raise Unavailable(f"Redis does not answer: {error}; try again in a moment") from error

    def time(self) -> float:
        """Redis' own clock, seconds since 1970. To be called where an outage is answered for."""
        seconds, microseconds = self.redis.time()
        return seconds + microseconds / 1e6
