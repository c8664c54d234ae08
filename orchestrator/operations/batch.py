"""Records a batch of reports that one worker sends by REST, and says for each whether it counts."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from orchestrator.operations.context import Context
from orchestrator.operations.enrolment import require_its_worker
from orchestrator.operations.record import record
from shared.errors import NotFound, Unavailable
from shared.protocol.messages import Report

log = logging.getLogger(__name__)


def record_batch(ctx: Context, worker_id: str, reports: Sequence[Report], token_id: str | None) -> list[str]:
    """Record the reports of one worker. Return for each why it was refused, or an empty text.

    Args:
        token_id: the token of the call, if its role is `worker`; None for an administrator, who may speak for any worker.

    Raises:
        NotFound: no worker has this id.
        Forbidden: the worker enrolled with another token (only if workers have logins of their own).
        Unavailable: the database or Redis does not answer. Sending the same batch again is safe.
    """
    if worker_id not in ctx.registry.entered([worker_id]):
        raise NotFound(f"no worker has the id {worker_id!r}; GET /api/workers lists them, POST /api/register enters one")
    require_its_worker(ctx, worker_id, token_id)
    own = [report for report in reports if report.worker_id == worker_id]
    objections = iter(_recorded(ctx, own))
    return [next(objections) if report.worker_id == worker_id else f"it is of {report.worker_id}, not of {worker_id}" for report in reports]


def _recorded(ctx: Context, reports: Sequence[Report]) -> list[str]:
    try:
        return record(ctx, reports).objections if reports else []
    except Unavailable:
        raise
    except Exception as error:  # one of them always fails; the others must not be lost with it
        if len(reports) > 1:
            return [objection for report in reports for objection in _recorded(ctx, [report])]
        log.exception("a report of %s cannot be recorded", reports[0].job_id)
        return [f"it cannot be recorded ({type(error).__name__}); the orchestrator's log says why"]
