"""What the watches share: who leads, whether Redis still has its memory, and what all sweeps came to."""

from __future__ import annotations

from typing import cast

from orchestrator.registry.link import Link
from shared.ids import new_incarnation
from shared.protocol import keys

LEADER_KEY = keys.PREFIX + "leader"
MONITOR_KEY = keys.PREFIX + "monitor"


class Monitor:
    """Every method raises `Unavailable` when Redis does not answer."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def lead(self, name: str, ttl_s: float) -> bool:
        """Take or keep the leadership. It only saves work: two leaders do no harm."""
        with self._link.answering():
            if self._link.redis.set(LEADER_KEY, name, px=int(ttl_s * 1000), nx=True):
                return True
            if self._link.redis.get(LEADER_KEY) != name:
                return False
            self._link.redis.pexpire(LEADER_KEY, int(ttl_s * 1000))
            return True

    def leader(self) -> str | None:
        """The name of the watch that leads now."""
        with self._link.answering():
            return cast("str | None", self._link.redis.get(LEADER_KEY))

    def same_memory(self) -> bool:
        """False once after Redis lost its memory (or was new): the epoch key was gone and is written again."""
        with self._link.answering():
            return not self._link.redis.set(keys.EPOCH, new_incarnation(), nx=True)

    def count_sweep(self, found: dict[str, int]) -> None:
        """Add what a sweep came to; the counters are the system's, not a process'."""
        with self._link.answering():
            pipeline = self._link.redis.pipeline(transaction=False)
            for name, number in found.items():
                pipeline.hincrby(MONITOR_KEY, name, number)
            pipeline.hincrby(MONITOR_KEY, "sweeps", 1)
            pipeline.hset(MONITOR_KEY, "last_sweep", self._link.time())
            pipeline.execute()

    def counters(self) -> dict[str, float]:
        """The counters of all sweeps, and `last_sweep` in seconds since 1970."""
        with self._link.answering():
            return {str(name): float(value) for name, value in self._link.redis.hgetall(MONITOR_KEY).items()}
