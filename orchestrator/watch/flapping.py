"""Puts devices into quarantine that lose work or fall silent again and again, so that they harm no more jobs."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import NamedTuple

from orchestrator.operations.context import Context
from orchestrator.registry import QuarantineRule

log = logging.getLogger(__name__)


class Fault(NamedTuple):
    """A fault of a device. The same cause counts once: a poison job that kills its worker again and again does not make it flap."""

    worker_id: str
    cause: str
    what: str


def quarantine_flapping(ctx: Context, faults: Iterable[Fault]) -> int:
    """Count faults. Returns how many devices they put into quarantine."""
    settings = ctx.settings
    rule = QuarantineRule(settings.quarantine_after, settings.quarantine_window_s, settings.quarantine_s)
    quarantined = 0
    for fault in faults:
        lasts_s = ctx.registry.faults.add(*fault, rule)
        if lasts_s:
            log.warning("%s flaps (%s): no work for it for %.0f s", fault.worker_id, fault.what, lasts_s)
            quarantined += 1
    return quarantined
