"""Serves the calls about campaigns: submit, list, show, change, delete, cancel and score."""

from __future__ import annotations

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Header, Query, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from orchestrator.api.bodies import RawBody, described, parse, read_json
from orchestrator.api.campaign_bodies import (
    FIRST_JOBS,
    CampaignBody,
    Campaigns,
    Cancelled,
    DeletedCampaign,
    Scoring,
    campaign_body,
    campaign_brief,
)
from orchestrator.api.context import Ctx
from orchestrator.api.errors import LABEL, documented
from orchestrator.api.ids import CampaignId
from orchestrator.api.pages import CampaignCursor, Limit, campaign_of
from orchestrator.api.recipe_bodies import is_yaml, yaml_recipe
from orchestrator.api.roles import caller_of
from orchestrator.operations.cancel import cancel_campaign
from orchestrator.operations.changes import change_campaign
from orchestrator.operations.context import Context
from orchestrator.operations.removal import remove_campaign
from orchestrator.operations.scoring import score_again
from orchestrator.operations.short_form import ShortCampaign
from orchestrator.operations.submit import Submitted, submit_recipe, submit_short
from orchestrator.store import campaigns
from shared.errors import InvalidInput
from shared.jobs import CampaignStatus
from shared.labels import MOST_LABELS, Labels
from shared.names import OneLine
from shared.recipes import Recipe, parse_recipe
from shared.strict import Strict

router = APIRouter(prefix="/api", tags=["campaigns"])

SHORT_EXAMPLE = {
    "model_url": "https://example.org/squeezenet.onnx",
    "jobs": [{"compute_unit": "CPU (ONNX)", "num_inference_runs": 200, "runs_per_job": 6}],
}
RECIPE_EXAMPLE = {
    "name": "squeezenet-everywhere",
    "model": "https://example.org/squeezenet.onnx",
    "on": ["cpu.onnx", "gpu.cuda.onnx"],
    "inferences": 200,
}

WantedLabels = Annotated[
    list[Annotated[str, Field(max_length=1_000, pattern=LABEL)]] | None,
    Query(max_length=MOST_LABELS, description="only campaigns with this label, as `name=value`; may be given several times"),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="a second call with the same key returns the same campaign",
    ),
]


class CampaignChange(Strict):
    """Says what is changed of a campaign. What is left out, or null, stays."""

    name: OneLine | None = Field(default=None, min_length=1, max_length=200)
    labels: Labels | None = Field(default=None, description="all labels, in place of those before")
    priority: int | None = Field(
        default=None, ge=0, le=9, description="the priority of its jobs that are in no queue yet; 9 goes first, 0 goes last"
    )


@router.post(
    "/campaigns",
    name="submit_campaign",
    status_code=201,
    response_model=CampaignBody,
    responses=documented(400, 409, 413, 422),
    openapi_extra=described(ShortCampaign, Recipe, example=SHORT_EXAMPLE, yaml=RECIPE_EXAMPLE),
)
async def post_campaign(ctx: Ctx, body: RawBody, request: Request, idempotency_key: IdempotencyKey = None) -> JSONResponse:
    """Submit the short form, or a recipe as JSON or YAML. Every mistake is named at once, and a campaign is never accepted in part."""
    recipe = None
    if is_yaml(request.headers.get("content-type", "")):
        recipe = await to_thread.run_sync(yaml_recipe, body, limiter=request.app.state.recipe_threads.submitting)
    caller = caller_of(request.scope)
    return await run_in_threadpool(_post, ctx, recipe, body, idempotency_key, caller.name if caller is not None else "")


def _post(ctx: Context, recipe: Recipe | None, body: bytes, key: str | None, user: str) -> JSONResponse:
    submitted = submit_recipe(ctx, recipe, key, user) if recipe is not None else _submit_json(ctx, body, key, user)
    headers = {"Location": f"/api/campaigns/{submitted.campaign.id}"}
    if submitted.replayed:
        headers["Idempotent-Replayed"] = "true"
    return JSONResponse(campaign_body(ctx, submitted.campaign.id), status_code=201, headers=headers)


def _submit_json(ctx: Context, body: bytes, key: str | None, user: str) -> Submitted:
    content = read_json(body)
    if isinstance(content, dict) and not content.keys() & {"model_url", "jobs", "model", "models", "on", "service"}:
        raise InvalidInput("a campaign needs `model_url` and `jobs` (the short form), or is a recipe: `model` or `models`, and `on`")
    if isinstance(content, dict) and content.keys() & {"model_url", "jobs"}:
        return submit_short(ctx, parse(ShortCampaign, body), key, user)
    return submit_recipe(ctx, parse_recipe(content), key, user)


@router.get("/campaigns", response_model=Campaigns, responses=documented(422))
def list_campaigns(
    ctx: Ctx, status: CampaignStatus | None = None, label: WantedLabels = None, limit: Limit = 100, cursor: CampaignCursor = None
) -> JSONResponse:
    """List campaigns, newest first. With several labels, a campaign must have all of them."""
    before = campaign_of(cursor)
    labels = [(name, value) for name, _, value in (one.partition("=") for one in label or ())]
    with ctx.store.read() as session:
        found = campaigns.page(session, status=status, labels=labels, before=before, limit=limit + 1)
        total = campaigns.count(session, status=status, labels=labels)
        shown = [campaign_brief(one) for one in found[:limit]]
    more = found[limit - 1].id if len(found) > limit else None
    return JSONResponse({"count": len(shown), "total": total, "campaigns": shown, "next_cursor": more})


@router.get("/campaigns/{campaign_id}", response_model=CampaignBody, responses=documented(404, 422))
def get_campaign(
    ctx: Ctx, campaign_id: CampaignId, jobs: Annotated[bool, Query(description="whether the answer includes the first 100 jobs")] = True
) -> JSONResponse:
    """Show one campaign with its first 100 jobs. `jobs_cursor` continues at `GET /jobs?campaign=…&cursor=…`."""
    return JSONResponse(campaign_body(ctx, campaign_id, FIRST_JOBS if jobs else None))


@router.patch(
    "/campaigns/{campaign_id}",
    name="update_campaign",
    response_model=CampaignBody,
    responses=documented(400, 404, 413, 422),
    openapi_extra=described(CampaignChange, example={"name": "nightly", "labels": {"branch": "main"}, "priority": 7}),
)
def patch_campaign(ctx: Ctx, campaign_id: CampaignId, body: RawBody) -> JSONResponse:
    """Change a campaign's name, its labels, or the priority of its jobs that still wait. Files that are written already are not changed."""
    wanted = parse(CampaignChange, body)
    change_campaign(ctx, campaign_id, name=wanted.name, labels=wanted.labels, priority=wanted.priority)
    return JSONResponse(campaign_body(ctx, campaign_id, None))


@router.delete("/campaigns/{campaign_id}", response_model=DeletedCampaign, responses=documented(404, 409))
def delete_campaign(ctx: Ctx, campaign_id: CampaignId) -> JSONResponse:
    """Delete a campaign that has ended: its jobs, results, histories and files. Uploaded models stay. This cannot be undone.

    While it is running, the answer is 409: cancel it first.
    """
    gone = remove_campaign(ctx, campaign_id)
    content = {
        "campaign_id": campaign_id,
        "status": "deleted",
        "deleted_jobs": gone.jobs,
        "freed_bytes": gone.size,
        "left": gone.left or None,
    }
    return JSONResponse(content)


@router.post("/campaigns/{campaign_id}/cancel", name="cancel_campaign", response_model=Cancelled, responses=documented(404, 409))
def cancel(ctx: Ctx, campaign_id: CampaignId) -> JSONResponse:
    """Cancel every unfinished job of a campaign. It is no error if the campaign is cancelled already."""
    ended, cancelled = cancel_campaign(ctx, campaign_id)
    return JSONResponse({"campaign_id": ended.id, "status": ended.status, "cancelled_jobs": cancelled})


@router.post(
    "/campaigns/{campaign_id}/score", name="score_campaign", status_code=202, response_model=Scoring, responses=documented(404, 409)
)
def score(ctx: Ctx, campaign_id: CampaignId) -> JSONResponse:
    """Judge the answers of a campaign again, without measuring again. Nobody waits for it.

    Its files are written again afterwards: then `scores_due` of the campaign is false, and `reported_at` is set.
    """
    return JSONResponse({"campaign_id": campaign_id, "status": "scoring", "jobs": score_again(ctx, campaign_id)}, status_code=202)
