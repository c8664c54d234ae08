"""Serves the figures of results as rows, for trends and scripts."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from orchestrator.api.context import Ctx
from orchestrator.api.errors import documented
from orchestrator.api.pages import FigureCursor, Limit, figure_of
from orchestrator.api.present import device_names
from orchestrator.api.times import Moment, text
from orchestrator.operations.figures import DECLARED, require_figure
from orchestrator.store import figures
from orchestrator.store.figures import ListedFigure
from shared.ids import CAMPAIGN_ID, JOB_ID, WORKER_ID, campaign_of, number_of

router = APIRouter(prefix="/api", tags=["figures"])


class FigureBody(BaseModel):
    job_id: str
    campaign_id: str
    name: str
    value: float
    low: float | None = Field(description="the lower end of the 95 % interval, where the figure has one")
    high: float | None
    unit: str
    better: str = Field(description="lower, higher or neither")
    created_at: str = Field(description="when the result was recorded")
    model: str = Field(description="what lists call the job: the name of its model, or what the kind of work says")
    worker_id: str | None
    device: str | None = Field(description="the name of the worker's device; null if the worker is not known any more")


class Figures(BaseModel):
    count: int
    figures: list[FigureBody]
    next_cursor: str | None


@router.get("/figures", response_model=Figures, responses=documented(404, 422))
def list_figures(
    ctx: Ctx,
    job: Annotated[str | None, Query(pattern=f"^{JOB_ID.pattern}$")] = None,
    campaign: Annotated[str | None, Query(pattern=f"^{CAMPAIGN_ID.pattern}$")] = None,
    name: Annotated[
        str | None, Query(json_schema_extra={"enum": list(DECLARED)}, description="a figure; also one that only a result names")
    ] = None,
    model: Annotated[str | None, Query(max_length=255, description="what lists call the job, such as the name of its model")] = None,
    device: Annotated[str | None, Query(max_length=200, description="the name of a device, or the id of its worker")] = None,
    since: Annotated[
        Moment | None, Query(description="only figures that were recorded at this time or later; a time without a zone is UTC")
    ] = None,
    limit: Limit = 100,
    cursor: FigureCursor = None,
) -> JSONResponse:
    """List figures of complete jobs.

    With `name`, the newest are listed first. Without it, the figures of one campaign are listed job by job, and those of all campaigns the
    newest campaign first.
    """
    after = figure_of(cursor)
    campaign_id, number = (campaign_of(job), number_of(job)) if job is not None else (campaign, None)
    wanted: dict[str, Any] = {"campaign_id": campaign_id, "number": number, "name": name, "model": model, "since": since}
    if device is not None:
        wanted["worker_id" if WORKER_ID.fullmatch(device) else "device"] = device
    found: list[ListedFigure] = []
    with ctx.store.read() as session:
        if name is not None:
            require_figure(session, name, "name")
        if campaign is None or campaign == campaign_id:  # otherwise the job is not of this campaign
            found = figures.page(session, **wanted, after=after, limit=limit + 1)
    more = found[limit - 1] if len(found) > limit else None
    names = device_names(ctx, (one.worker_id for one in found[:limit]))
    shown = [_body(one, names.get(str(one.worker_id))) for one in found[:limit]]
    next_cursor = f"{more.job_id}/{more.name}" if more is not None else None
    return JSONResponse({"count": len(shown), "figures": shown, "next_cursor": next_cursor})


def _body(one: ListedFigure, device: str | None) -> dict[str, Any]:
    return {
        "job_id": one.job_id,
        "campaign_id": one.campaign_id,
        "name": one.name,
        "value": one.value,
        "low": one.low,
        "high": one.high,
        "unit": one.unit,
        "better": one.better,
        "created_at": text(one.created_at),
        "model": one.model,
        "worker_id": one.worker_id,
        "device": device,
    }
