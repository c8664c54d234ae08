"""Puts the parts of the registry together: everything that Redis knows about workers, jobs and the watch."""

from __future__ import annotations

from orchestrator.registry.changes import Changes
from orchestrator.registry.departures import Departures
from orchestrator.registry.faults import Faults
from orchestrator.registry.histograms import Histograms
from orchestrator.registry.letters import DeadLetters
from orchestrator.registry.link import Link
from orchestrator.registry.logins import Logins
from orchestrator.registry.marks import Marks
from orchestrator.registry.monitor import Monitor
from orchestrator.registry.registrations import Registrations
from orchestrator.registry.states import States
from shared.protocol import keys
from shared.protocol.condition import Trouble, troubles


class Registry(Registrations, States, Departures):
    """Holds the registry of workers. Every method raises `Unavailable` if Redis does not answer."""

    def __init__(self, url: str, timeout_s: float) -> None:
        """Make a client for this address. No connection is opened yet.

        Args:
            timeout_s: a worker that was silent for longer no longer counts as living.
        """
        link = Link(url)
        super().__init__(link, timeout_s)
        self.marks, self.monitor, self.letters = Marks(link, timeout_s), Monitor(link), DeadLetters(link)
        self.faults, self.logins, self.changes = Faults(link), Logins(link), Changes(link)
        self.histograms = Histograms(link)

    def ping_ms(self) -> float:
        """Return how long a small write takes by Redis' clock, in milliseconds. It writes because a read-only or full Redis is unusable."""
        with self._link.answering():
            before = self._link.time()
            self.redis.set(keys.PREFIX + "ping", "", px=1000)
            return max(0.0, (self._link.time() - before) * 1000)

    def troubles(self) -> list[Trouble]:
        """Return what is wrong with a Redis that answers: for example it may evict keys, is full, or is a replica or a Sentinel.

        Raises:
            Unavailable: it does not answer.
        """
        with self._link.answering():
            return troubles(self.redis)

    def clear(self) -> None:
        """Delete every key of ours in Redis except the queues: workers, claims, tombstones, answers, dead letters and counters."""
        with self._link.answering():
            batch = [str(name) for name in self.redis.scan_iter(match=f"{keys.PREFIX}*", count=1000)]
            for start in range(0, len(batch), 1000):
                self.redis.unlink(*batch[start : start + 1000])

    def close(self) -> None:
        self._roster.close()
        self.redis.close()
