"""Serves the call with which a worker reports many jobs at once."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from orchestrator.api.bodies import RawBody, described, parse
from orchestrator.api.context import Ctx
from orchestrator.api.errors import documented
from orchestrator.api.roles import caller_of
from orchestrator.operations.batch import record_batch
from shared.protocol.messages import Report, WorkerId
from shared.strict import Strict
from shared.tokens import Role

router = APIRouter(prefix="/api", tags=["jobs"])

MOST = 1_000
_JOB = {"job_id": "campaign-0123456789abcdefgh-job-1", "attempt": 1, "worker_id": "worker-0123456789ab", "incarnation": ""}
EXAMPLE: dict[str, Any] = {
    "worker_id": "worker-0123456789ab",
    "states": [
        {"kind": "started", "at": 1772366400.5, **_JOB},
        {"kind": "hand_back", "reason": "the device is shut down", **_JOB},
    ],
}


class Batch(Strict):
    """Holds what one worker says about its jobs: that it started one, hands one back, or has the result or the log of an attempt."""

    worker_id: WorkerId
    states: list[Annotated[Report, Field(discriminator="kind")]] = Field(min_length=1, max_length=MOST)


class StateAnswer(BaseModel):
    job_id: str
    attempt: int
    accepted: bool
    reason: str | None = Field(description="why it was refused")


class BatchAnswer(BaseModel):
    worker_id: str
    accepted: int
    refused: int
    states: list[StateAnswer]


@router.post(
    "/jobs/batch",
    name="report_jobs",
    response_model=BatchAnswer,
    responses=documented(400, 404, 413, 422),
    openapi_extra=described(Batch, example=EXAMPLE),
)
def post_batch(ctx: Ctx, body: RawBody, request: Request) -> JSONResponse:
    """Report up to 1 000 states of jobs of one worker, in the order in which they happened. Each is accepted, or refused with its reason.

    They are the messages that a worker sends through the results queue. Sending one again does no harm. The large files of a result are
    uploaded before it (`upload_artifact`).
    """
    batch = parse(Batch, body)
    caller = caller_of(request.scope)
    token_id = caller.token_id if caller is not None and caller.role is Role.WORKER else None
    objections = record_batch(ctx, batch.worker_id, batch.states, token_id)
    states = [
        {"job_id": state.job_id, "attempt": state.attempt, "accepted": not objection, "reason": objection or None}
        for state, objection in zip(batch.states, objections, strict=True)
    ]
    refused = sum(not state["accepted"] for state in states)
    return JSONResponse({"worker_id": batch.worker_id, "accepted": len(states) - refused, "refused": refused, "states": states})
