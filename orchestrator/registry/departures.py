"""Moves workers that left out of the fleet, and forgets workers that left or fell silent long ago."""

from __future__ import annotations

from orchestrator.registry.link import Link
from orchestrator.registry.looks import Looks
from orchestrator.registry.marks import ANSWER_S
from shared.protocol import keys, scripts
from shared.workers import WorkerStatus

GONE_KEPT_S = 86_400.0  # a worker that left is still listed for a day
FAULTY_KEPT_S = 7 * 86_400.0  # a silent device stays listed so that people can look for it; it is forgotten after a week
FORMER_KEPT_S = ANSWER_S  # a forgotten worker may still send results, so its id is kept for as long as answers are


class Departures(Looks):
    """Removes workers from the lists of the fleet."""

    def __init__(self, link: Link, timeout_s: float) -> None:
        super().__init__(link, timeout_s)
        self._depart = link.redis.register_script(scripts.DEPART)
        self._forget = link.redis.register_script(scripts.FORGET)

    def tidy(self) -> list[str]:
        """Move workers that left to the list of departed workers, and forget workers that left or fell silent long ago.

        Results of their work are kept.

        Returns:
            The ids of the workers that were forgotten.
        """
        times = (WorkerStatus.GONE, self.timeout_s), (WorkerStatus.FAULTY, FAULTY_KEPT_S)
        with self._link.answering():
            now_ms = self._link.time() * 1000
            old = [
                (worker_id, status)
                for worker_id, (said, last_seen) in self._roster.states(keys.WORKERS, ("status", "last_seen")).items()
                for status, kept_s in times
                if said == status and now_ms - _ms(last_seen) > kept_s * 1000
            ]
            for worker_id, status in old:
                # this happens only after the timeout: the last messages of the worker may still arrive, and the watch waits for them
                if status is WorkerStatus.GONE:
                    self._depart(args=[worker_id])
            left = [(worker_id, WorkerStatus.GONE) for worker_id in self._roster.states(keys.DEPARTED, ("status",))]
            return [worker_id for worker_id, status in (*left, *old) if self._forgets(worker_id, status)]

    def _forgets(self, worker_id: str, status: WorkerStatus) -> bool:
        kept_s = GONE_KEPT_S if status is WorkerStatus.GONE else FAULTY_KEPT_S
        return bool(self._forget(args=[worker_id, status, int(kept_s * 1000), int(FORMER_KEPT_S * 1000)]))


def _ms(text: str | None) -> float:
    """Return a time that a worker wrote, or 0 if it is not a number."""
    try:
        return float(text or "")
    except ValueError:
        return 0.0
