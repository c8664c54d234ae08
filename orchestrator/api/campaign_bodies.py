"""Defines what the API shows of a campaign and of its jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field

from orchestrator.api.present import device_names, waits
from orchestrator.api.times import text
from orchestrator.operations.context import Context
from orchestrator.operations.scoring import scores_are_due
from orchestrator.reports.parameters import job_parameters, parts_of
from orchestrator.store import campaigns, job_lists
from orchestrator.store.job_lists import JobHead
from orchestrator.store.tables import Campaign
from shared.masking import content_without_logins, without_logins

FIRST_JOBS = 100  # how many jobs are shown with a campaign; `jobs_cursor` leads to the rest


class JobBrief(BaseModel):
    job_id: str
    compute_unit: str
    status: str
    model: str
    capability: str | None
    worker_id: str | None
    device: str | None = Field(description="the name of the worker's device; two devices may have the same name, but their ids differ")
    attempt: int
    error: str | None
    waiting_for: str | None = Field(description="what a pending job waits for")
    options: dict[str, Any]
    parameters: dict[str, str] = Field(description="what differs from the other jobs of its campaign, as in the column `Parameters`")


class Breakdown(BaseModel):
    pending: int
    running: int
    complete: int
    failed: int
    cancelled: int


class CampaignBrief(BaseModel):
    campaign_id: str
    name: str
    model_url: str
    status: str
    total_jobs: int
    completed_jobs: int
    failed_jobs: int
    created_at: str
    ended_at: str | None
    reported_at: str | None = Field(description="when all of its files under `outputs/` were written")
    job_breakdown: Breakdown
    warnings: list[str]
    labels: dict[str, str]


class CampaignBody(CampaignBrief):
    notes: str
    scores_due: bool = Field(description="whether answers to a task wait to be judged, after the campaign has ended")
    jobs: list[JobBrief] | None = None
    jobs_cursor: str | None = None


class Campaigns(BaseModel):
    count: int
    total: int = Field(description="how many campaigns all pages together list")
    campaigns: list[CampaignBrief]
    next_cursor: str | None


class DeletedCampaign(BaseModel):
    campaign_id: str
    status: Literal["deleted"]
    deleted_jobs: int
    freed_bytes: int = Field(description="what its files held")
    left: str | None = Field(description="why some of its files could not be removed; they are tried again within the hour")


class Scoring(BaseModel):
    campaign_id: str
    status: Literal["scoring"]
    jobs: int = Field(description="how many jobs have answers that are judged again")


class Cancelled(BaseModel):
    campaign_id: str
    status: str
    cancelled_jobs: int


def campaign_body(ctx: Context, campaign_id: str, first: int | None = FIRST_JOBS) -> dict[str, Any]:
    """Return a campaign as the API shows it.

    Args:
        first: how many of its jobs are listed with it; None for an answer without jobs.
    """
    with ctx.store.read() as session:
        found = campaigns.get(session, campaign_id)
        unreported = found.ended_at is not None and found.reported_at is None
        content: dict[str, Any] = campaign_brief(found) | {"notes": found.notes}
        if first is not None:
            varied = ctx.varied.of(session, [campaign_id])[campaign_id]
            heads = job_lists.heads(session, campaign_id, limit=first + 1, parts=parts_of(varied))
            waiting = waits(ctx, session, heads[:first])
            content["jobs"] = [_job_brief(head, reason, varied) for head, reason in zip(heads[:first], waiting, strict=True)]
            content["jobs_cursor"] = heads[first - 1].job_id if len(heads) > first else None
    content["scores_due"] = unreported and scores_are_due(ctx, campaign_id)
    if first is not None:
        names = device_names(ctx, (job["worker_id"] for job in content["jobs"]))
        content["jobs"] = [job | {"device": names.get(job["worker_id"])} for job in content["jobs"]]
    return content


def campaign_brief(one: Campaign) -> dict[str, Any]:
    """Return what lists of campaigns show of one."""
    return {
        "campaign_id": one.id,
        "name": one.name,
        "model_url": without_logins(one.model_url),
        "status": one.status,
        "total_jobs": one.total_jobs,
        "completed_jobs": one.complete_jobs,
        "failed_jobs": one.failed_jobs,
        "created_at": text(one.created_at),
        "ended_at": text(one.ended_at),
        "reported_at": text(one.reported_at),
        "job_breakdown": {
            "pending": one.pending_jobs,
            "running": one.running_jobs,
            "complete": one.complete_jobs,
            "failed": one.failed_jobs,
            "cancelled": one.cancelled_jobs,
        },
        "warnings": one.warnings,
        "labels": one.labels if isinstance(one.labels, dict) else {},  # one damaged row must not fail the whole list
    }


def _job_brief(head: JobHead, waiting: str | None, varied: Sequence[str]) -> dict[str, Any]:
    content = head._asdict() | {
        "device": None,
        "waiting_for": waiting,
        "parameters": content_without_logins(job_parameters(head.asked, varied)),
    }
    for inner in ("number", "lane_id", "queue", "dispatched_at", "not_before", "asked"):
        del content[inner]
    return content
