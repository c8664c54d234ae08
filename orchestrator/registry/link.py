"""The way to Redis: each process has one client, whose errors become `Unavailable`."""

from __future__ import annotations

from contextlib import AbstractContextManager

import redis

from shared.protocol.outage import answering, once_more


class Link:
    """A client that tries once and waits a little: an API call answers 503 rather than hang while Redis is away."""

    def __init__(self, url: str) -> None:
        self.redis: redis.Redis = redis.Redis.from_url(
            url,
            decode_responses=True,
            encoding_errors="replace",  # what one worker writes that is no text must not hide the others
            socket_timeout=5,
            socket_connect_timeout=2,
            retry=once_more(),
            health_check_interval=15,
        )

    def answering(self) -> AbstractContextManager[None]:
        """
        Raises:
            Unavailable: Redis does not answer, or takes no writes.
        """
        return answering("Redis")

    def time(self) -> float:
        """Return Redis' own clock, in seconds since 1970. Call it inside of `answering`."""
        seconds, microseconds = self.redis.time()
        return seconds + microseconds / 1e6
