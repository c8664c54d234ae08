"""Reads and writes what the watches share in Redis: the leader, the run of Redis, the state of the results queue, the counters."""

from __future__ import annotations

import math
from typing import NamedTuple, cast

from orchestrator.registry.link import Link
from shared.capabilities import RESULTS_QUEUE
from shared.protocol import keys


class Results(NamedTuple):
    """Describes the results queue.

    Attributes:
        waiting: how many messages are not recorded yet.
        taken_s_ago: how many seconds ago a consumer last took messages; infinite if there is no consumer.
    """

    waiting: int
    taken_s_ago: float


class Monitor:
    """Holds the shared data of the watches. Every method raises `Unavailable` if Redis does not answer."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def lead(self, name: str, ttl_s: float) -> bool:
        """Take or keep the lead. Return whether this watch leads. The lead only saves work: two leaders do no harm."""
        with self._link.answering():
            if self._link.redis.set(keys.LEADER, name, px=int(ttl_s * 1000), nx=True):
                return True
            if self._link.redis.get(keys.LEADER) != name:
                return False
            self._link.redis.pexpire(keys.LEADER, int(ttl_s * 1000))
            return True

    def leader(self) -> str | None:
        """Return the name of the watch that leads now, or None."""
        with self._link.answering():
            return cast("str | None", self._link.redis.get(keys.LEADER))

    def same_memory(self) -> bool:
        """Return False once after Redis was new, restarted or emptied, because its data may be lost or come from an older file."""
        with self._link.answering():
            run = str(self._link.redis.info("server").get("run_id", ""))
            return bool(self._link.redis.set(keys.EPOCH, run, get=True) == run)

    def results(self) -> Results:
        """Return what waits to be recorded. The queue is counted before the consumers' batches, so a moving message is never missed."""
        with self._link.answering():
            waiting = self._link.redis.llen(RESULTS_QUEUE)
            consumers = cast("list[tuple[str, float]]", self._link.redis.zrange(keys.CONSUMERS, 0, -1, withscores=True))
            waiting += sum(self._link.redis.llen(keys.TAKEN + name) for name, _ in consumers)
            last_take = max((score / 1000 for _, score in consumers), default=-math.inf)
            return Results(waiting, max(0.0, self._link.time() - last_take))

    def unwatched_s(self) -> float:
        """Return how many seconds ago the last sweep of any watch ended; 0 if Redis knows of none."""
        with self._link.answering():
            last = _number(cast("str | None", self._link.redis.hget(keys.MONITOR, "last_sweep")))
            return max(0.0, self._link.time() - last) if last is not None else 0.0

    def count_sweep(self, found: dict[str, int]) -> None:
        """Add the findings of a sweep to the counters, and note its time. The counters are for the whole system, not per process."""
        with self._link.answering():
            pipeline = self._link.redis.pipeline(transaction=False)
            for name, number in found.items():
                pipeline.hincrby(keys.MONITOR, name, number)
            pipeline.hincrby(keys.MONITOR, "sweeps", 1)
            pipeline.hset(keys.MONITOR, "last_sweep", self._link.time())
            pipeline.execute()

    def counters(self) -> dict[str, float]:
        """Return the counters of all sweeps, and `last_sweep` in seconds since 1970. Values that are not numbers are left out."""
        with self._link.answering():
            found = {str(name): _number(str(value)) for name, value in self._link.redis.hgetall(keys.MONITOR).items()}
        return {name: value for name, value in found.items() if value is not None}


def _number(text: str | None) -> float | None:
    """Return the number in this text, or None if it is not a finite number. An exception here would stop each sweep."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
