"""Serves the matrix of a campaign: one figure of its jobs by model, device and other axes."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from orchestrator.api.context import Ctx
from orchestrator.api.errors import documented
from orchestrator.api.ids import CampaignId
from orchestrator.operations.comparison import matrix_of, metric_of
from orchestrator.verdicts.figures import FIGURES, figure_kind
from orchestrator.verdicts.matrix import AXES, DEFAULT_AXES, Cell, axes_of

router = APIRouter(prefix="/api", tags=["comparisons"])

MATRIX_FORMAT = 1
# 1: the first format.
_AXES = "|".join(AXES)


class CellBody(BaseModel):
    at: dict[str, str] = Field(description="its value on each axis of `by`")
    jobs: list[str]
    value: float | None
    low: float | None = Field(description="the lower end of the 95 % interval, where the figure has one")
    high: float | None
    missing: str | None = Field(description="why there is no value")
    of_best: float | None = Field(description="the value divided by the best value of the same work; null if its work is not known")
    noise: str | None = Field(description="the worst grade of its jobs")


class Matrix(BaseModel):
    format: int
    campaign_id: str
    status: str
    by: list[str]
    metric: str
    unit: str
    better: str
    axes: dict[str, list[str]] = Field(description="the values on each axis, in the order of the jobs")
    cells: list[CellBody]


@router.get("/campaigns/{campaign_id}/comparison", name="get_comparison", response_model=Matrix, responses=documented(404, 413, 422))
def get_campaign_matrix(
    ctx: Ctx,
    campaign_id: CampaignId,
    by: Annotated[
        str,
        Query(
            json_schema_extra={"pattern": f"^({_AXES})(,({_AXES}))*$"}, description=f"the axes, with commas between them: {', '.join(AXES)}"
        ),
    ] = ",".join(DEFAULT_AXES),
    metric: Annotated[
        str | None, Query(json_schema_extra={"enum": list(FIGURES)}, description="the default is the headline of the kind of work")
    ] = None,
) -> JSONResponse:
    """Show one figure of a campaign's jobs as a matrix. While the campaign is running, these are the jobs that have ended."""
    axes = axes_of(by)
    if metric is not None:
        figure_kind(metric)  # a wrong name is refused whatever the campaign is
    kind = metric_of(ctx, metric, campaign_id)
    campaign, cells = matrix_of(ctx, campaign_id, axes, kind)
    return JSONResponse(
        {
            "format": MATRIX_FORMAT,
            "campaign_id": campaign.id,
            "status": campaign.status,
            "by": list(axes),
            "metric": kind.name,
            "unit": kind.unit,
            "better": kind.better,
            "axes": {name: list(dict.fromkeys(cell.at[name] for cell in cells)) for name in axes},
            "cells": [_cell(cell) for cell in cells],
        }
    )


def _cell(cell: Cell) -> dict[str, Any]:
    return {
        "at": cell.at,
        "jobs": list(cell.job_ids),
        "value": cell.value,
        "low": cell.low,
        "high": cell.high,
        "missing": cell.missing or None,
        "of_best": cell.of_best,
        "noise": cell.noise or None,
    }
