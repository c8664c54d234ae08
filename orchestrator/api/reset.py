"""Serves the call that resets the system."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import JSONResponse

from orchestrator.api.bodies import RawBody, described, parse_optional
from orchestrator.api.context import Ctx
from orchestrator.api.credentials import ANYONE
from orchestrator.api.errors import documented
from orchestrator.api.roles import caller_of
from orchestrator.operations.reset import reset
from shared.errors import BadRequest
from shared.strict import Strict

router = APIRouter(prefix="/api", tags=["reset"])


class Confirmation(Strict):
    confirm: bool = False


class Cleared(BaseModel):
    status: str
    message: str
    workers_cleared: bool
    campaigns_cleared: bool
    jobs_cleared: bool
    results_cleared: bool
    queues_cleared: bool


@router.post(
    "/reset",
    name="reset",
    response_model=Cleared,
    responses=documented(400, 413, 422),
    openapi_extra=described(Confirmation, example={"confirm": True}, required=False),
)
def post_reset(ctx: Ctx, body: RawBody, request: Request) -> JSONResponse:
    """Delete every worker, campaign, job, result and queued message. Files under `outputs/` and tokens stay. This cannot be undone."""
    if not parse_optional(Confirmation, body).confirm and caller_of(request.scope) is not ANYONE:
        raise BadRequest('this forgets every worker, campaign and result: send {"confirm": true} to mean it')
    cleared = reset(ctx)
    message = (
        f"forgot {cleared.workers} workers, {cleared.campaigns} campaigns, {cleared.jobs} jobs, {cleared.results} results "
        f"and {cleared.messages} queued messages; files under outputs stay"
    )
    kinds = ("workers", "campaigns", "jobs", "results", "queues")
    return JSONResponse({"status": "reset", "message": message, **{f"{kind}_cleared": True for kind in kinds}})
