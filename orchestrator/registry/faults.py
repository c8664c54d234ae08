"""Counts faults of devices. A device that flaps is put into quarantine, and hears of it in the answer to its next heartbeat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from orchestrator.registry.link import Link
from shared.protocol import keys, scripts

LONGEST_S = 3_600.0
REMEMBERED_S = 86_400.0  # after a day without quarantine the next one is short again


@dataclass(frozen=True)
class QuarantineRule:
    """A device flaps that has `faults` different faults within `window_s`. Its first quarantine lasts `quarantine_s`."""

    faults: int
    window_s: float
    quarantine_s: float


class Faults:
    """Every method raises `Unavailable` when Redis does not answer."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._fault = link.redis.register_script(scripts.FAULT)

    def add(self, worker_id: str, cause: str, what: str, rule: QuarantineRule) -> float:
        """Count a fault of a device.

        Args:
            cause: what the fault was, so that the same one is counted once: by two watches, or by a job that is lost again.
            what: the same for people.

        Returns:
            For how many seconds this puts it into quarantine; 0 if it does not.
        """
        why = f"{rule.faults} faults within {rule.window_s:g} s, the last: {what}"
        times = (rule.window_s, rule.quarantine_s, LONGEST_S, REMEMBERED_S)
        with self._link.answering():
            lasts = self._fault(args=[worker_id, cause, why, rule.faults, *(int(seconds * 1000) for seconds in times)])
        return cast("int", lasts) / 1000

    def forgive(self, worker_id: str) -> None:
        """End a quarantine, and forget what led to it."""
        with self._link.answering():
            pipeline = self._link.redis.pipeline(transaction=True)
            pipeline.hdel(keys.worker(worker_id), "quarantined_until", "quarantine_reason")
            pipeline.delete(keys.faults(worker_id), keys.quarantines(worker_id))
            pipeline.execute()
