"""Serves the call that removes what is old: campaigns with their files, and uploaded models that no job names."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from orchestrator.api.bodies import RawBody, described, parse
from orchestrator.api.context import Ctx
from orchestrator.api.errors import documented
from orchestrator.api.times import text
from orchestrator.operations.pruning import prune
from orchestrator.operations.removal import Removed
from shared.strict import Strict

router = APIRouter(prefix="/api", tags=["prune"])


class Pruning(Strict):
    older_than_s: float = Field(ge=0, le=100 * 365 * 86_400, description="what ended, or was uploaded, longer ago than this, in seconds")
    confirm: bool = Field(default=False, description="false only says what would be removed")
    campaigns: bool = True
    models: bool = True


class PrunedCampaign(BaseModel):
    campaign_id: str
    name: str
    ended_at: str | None
    jobs: int
    size: int = Field(description="what its files hold, in bytes")
    left: str = Field(description="why files could not be removed; they are tried again within the hour")


class PrunedModel(BaseModel):
    sha256: str
    name: str
    size: int = Field(description="in bytes")


class Pruned(BaseModel):
    removed: bool = Field(description="false if this only says what would be removed")
    campaigns: list[PrunedCampaign]
    models: list[PrunedModel]
    size: int = Field(description="what all of it holds, in bytes")
    more: bool = Field(description="there may be more: call again after this was removed")


@router.post(
    "/prune",
    response_model=Pruned,
    responses=documented(400, 413, 422),
    openapi_extra=described(Pruning, example={"older_than_s": 2_592_000, "confirm": False}),
)
def post_prune(ctx: Ctx, body: RawBody) -> JSONResponse:
    """Remove campaigns that ended long ago, with their files, and uploaded models that no job names. Running campaigns are never touched.

    Without `confirm`, nothing is removed, and the answer says what would be. One call takes at most 100 campaigns.
    """
    wanted = parse(Pruning, body)
    before = ctx.clock.now() - timedelta(seconds=wanted.older_than_s)
    found = prune(ctx, before, campaigns=wanted.campaigns, models=wanted.models, removing=wanted.confirm)
    content: dict[str, Any] = {
        "removed": wanted.confirm,
        "campaigns": [_campaign(one) for one in found.campaigns],
        "models": [{"sha256": one.sha256, "name": one.name, "size": one.size} for one in found.models],
        "size": sum(one.size for one in found.campaigns) + sum(one.size for one in found.models),
        "more": found.more,
    }
    return JSONResponse(content)


def _campaign(one: Removed) -> dict[str, Any]:
    return {
        "campaign_id": one.campaign_id,
        "name": one.name,
        "ended_at": text(one.ended_at),
        "jobs": one.jobs,
        "size": one.size,
        "left": one.left,
    }
