"""Lists the workers that a plan may count on."""

from __future__ import annotations

import logging

from orchestrator.domain.placement import KnownWorker
from orchestrator.operations.context import Context
from shared.errors import Unavailable
from shared.workers import WorkerStatus

log = logging.getLogger(__name__)


def known_workers(ctx: Context) -> list[KnownWorker] | None:
    """Return the registered workers that have not left, or None while Redis, which knows them, does not answer."""
    try:
        return [worker.known() for worker in ctx.registry.all() if worker.status is not WorkerStatus.GONE]
    except Unavailable as error:
        log.warning("planning without a look at the workers: %s", error.detail)
        return None
