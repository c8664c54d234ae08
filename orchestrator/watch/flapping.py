"""Puts flapping devices into quarantine: devices that lose work or fall silent again and again."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import NamedTuple

from orchestrator.operations.context import Context
from orchestrator.registry import QuarantineRule

log = logging.getLogger(__name__)


class Fault(NamedTuple):
    """Describes a fault of a device. The same cause counts once, so one bad job that kills its worker repeatedly is one fault."""

    worker_id: str
    cause: str
    what: str


def quarantine_flapping(ctx: Context, faults: Iterable[Fault]) -> int:
    """Count these faults. Return how many devices are put into quarantine because of them."""
    settings = ctx.settings
    rule = QuarantineRule(settings.quarantine_after, settings.quarantine_window_s, settings.quarantine_s)
    quarantined = 0
    for fault in faults:
        lasts_s = ctx.registry.faults.add(*fault, rule)
        if lasts_s:
            log.warning("%s flaps (%s): no work for it for %.0f s", fault.worker_id, fault.what, lasts_s)
            quarantined += 1
    return quarantined
