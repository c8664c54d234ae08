"""Connects to Redis. Each process has one client, and its connection errors become `Unavailable`."""

from __future__ import annotations

from contextlib import AbstractContextManager

import redis

from shared.protocol.outage import answering, once_more


class Link:
    """Holds a client with short timeouts and one retry, so that API calls answer 503 instead of hanging while Redis is away."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.redis: redis.Redis = redis.Redis.from_url(
            url,
            decode_responses=True,
            encoding_errors="replace",  # bytes of one worker that are not valid text must not hide the other workers
            socket_timeout=5,
            socket_connect_timeout=2,
            retry=once_more(),
            health_check_interval=15,
        )

    def answering(self) -> AbstractContextManager[None]:
        """Return a context manager that turns outages of Redis into `Unavailable`.

        Raises:
            Unavailable: Redis does not answer, or takes no writes.
        """
        return answering("Redis")

    def time(self) -> float:
        """Return the time of Redis' clock, in seconds since 1970. Call this inside `answering`."""
        seconds, microseconds = self.redis.time()
        return seconds + microseconds / 1e6
