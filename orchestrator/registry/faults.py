"""Counts faults of devices and puts flapping devices into quarantine. A device learns of that from its next heartbeat's answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from orchestrator.registry.link import Link
from shared.protocol import scripts

LONGEST_S = 3_600.0
REMEMBERED_S = 86_400.0  # after a day without a quarantine, the next one is short again


@dataclass(frozen=True)
class QuarantineRule:
    """Says when a device flaps: it has `faults` different faults within `window_s`. The first quarantine lasts `quarantine_s`."""

    faults: int
    window_s: float
    quarantine_s: float


class Faults:
    """Counts faults. Every method raises `Unavailable` if Redis does not answer."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._fault = link.redis.register_script(scripts.FAULT)

    def add(self, worker_id: str, cause: str, what: str, rule: QuarantineRule) -> float:
        """Count a fault of a device.

        Args:
            cause: identifies the fault. The same cause counts once, even if two watches report it or the same job is lost again.
            what: describes the fault for people.

        Returns:
            How many seconds of quarantine this fault leads to; 0 if none.
        """
        why = f"{rule.faults} faults within {rule.window_s:g} s, the last: {what}"
        times = (rule.window_s, rule.quarantine_s, LONGEST_S, REMEMBERED_S)
        with self._link.answering():
            lasts = self._fault(args=[worker_id, cause, why, rule.faults, *(int(seconds * 1000) for seconds in times)])
        return cast("int", lasts) / 1000
