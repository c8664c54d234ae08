"""What the watches share in Redis: who leads, whether Redis kept its memory, whether somebody records, and the counters."""

from __future__ import annotations

import math
from typing import NamedTuple, cast

from orchestrator.registry.link import Link
from shared.capabilities import RESULTS_QUEUE
from shared.protocol import keys


class Results(NamedTuple):
    """The results queue: how many messages nobody has recorded yet, and how long ago a consumer last took some (inf: there is none)."""

    waiting: int
    taken_s_ago: float


class Monitor:
    """Every method raises `Unavailable` when Redis does not answer."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def lead(self, name: str, ttl_s: float) -> bool:
        """Take or keep the lead. Returns whether this watch has it. It only saves work: two leaders do no harm."""
        with self._link.answering():
            if self._link.redis.set(keys.LEADER, name, px=int(ttl_s * 1000), nx=True):
                return True
            if self._link.redis.get(keys.LEADER) != name:
                return False
            self._link.redis.pexpire(keys.LEADER, int(ttl_s * 1000))
            return True

    def leader(self) -> str | None:
        """Return the name of the watch that leads now."""
        with self._link.answering():
            return cast("str | None", self._link.redis.get(keys.LEADER))

    def same_memory(self) -> bool:
        """Return False once after Redis was new, lost its memory or was started anew: what it remembers may come from an older file."""
        with self._link.answering():
            run = str(self._link.redis.info("server").get("run_id", ""))
            return bool(self._link.redis.set(keys.EPOCH, run, get=True) == run)

    def results(self) -> Results:
        """Return what waits to be recorded, counted in the order in which messages move, so that none is missed on its way."""
        with self._link.answering():
            waiting = self._link.redis.llen(RESULTS_QUEUE)
            consumers = cast("list[tuple[str, float]]", self._link.redis.zrange(keys.CONSUMERS, 0, -1, withscores=True))
            waiting += sum(self._link.redis.llen(keys.TAKEN + name) for name, _ in consumers)
            last_take = max((score / 1000 for _, score in consumers), default=-math.inf)
            return Results(waiting, max(0.0, self._link.time() - last_take))

    def unwatched_s(self) -> float:
        """Return how long ago the last sweep of any watch ended; 0 when Redis remembers none."""
        with self._link.answering():
            last = _number(cast("str | None", self._link.redis.hget(keys.MONITOR, "last_sweep")))
            return max(0.0, self._link.time() - last) if last is not None else 0.0

    def count_sweep(self, found: dict[str, int]) -> None:
        """Add what a sweep came to. The counters belong to the system, not to a process."""
        with self._link.answering():
            pipeline = self._link.redis.pipeline(transaction=False)
            for name, number in found.items():
                pipeline.hincrby(keys.MONITOR, name, number)
            pipeline.hincrby(keys.MONITOR, "sweeps", 1)
            pipeline.hset(keys.MONITOR, "last_sweep", self._link.time())
            pipeline.execute()

    def counters(self) -> dict[str, float]:
        """Return the counters of all sweeps, and `last_sweep` in seconds since 1970. What is no number is left out."""
        with self._link.answering():
            found = {str(name): _number(str(value)) for name, value in self._link.redis.hgetall(keys.MONITOR).items()}
        return {name: value for name, value in found.items() if value is not None}


def _number(text: str | None) -> float | None:
    """Return what was counted; None for what is no number. A watch that stumbled over it would stop at each sweep."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
