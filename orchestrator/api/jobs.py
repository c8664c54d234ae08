"""Serves the calls about jobs: list, show, cancel and retry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from orchestrator.api.context import Ctx
from orchestrator.api.errors import documented
from orchestrator.api.ids import JobId
from orchestrator.api.pages import JobCursor, Limit, job_of
from orchestrator.api.present import device_names, waits
from orchestrator.api.times import Moment, text
from orchestrator.domain.stored import shown_options, shown_workload
from orchestrator.operations.cancel import cancel_job
from orchestrator.operations.figures import DECLARED, require_figure
from orchestrator.operations.retry import retry_job
from orchestrator.operations.rows import row_of
from orchestrator.reports.columns import Row, whole_row
from orchestrator.reports.parameters import job_parameters
from orchestrator.store import figures, job_lists, jobs, results
from orchestrator.store.job_lists import MOST_COUNTED
from orchestrator.store.tables import Event, FigureRow, Job
from shared.addresses import shown_address
from shared.errors import NotFound, Unavailable
from shared.ids import CAMPAIGN_ID, WORKER_ID
from shared.jobs import TERMINAL, JobStatus
from shared.masking import content_without_logins

router = APIRouter(prefix="/api", tags=["jobs"])


class JobFigure(BaseModel):
    name: str
    value: float
    low: float | None
    high: float | None
    unit: str
    better: str


class JobBody(BaseModel):
    job_id: str
    campaign_id: str
    model: str
    compute_unit: str
    options: dict[str, Any]
    parameters: dict[str, str] = Field(description="what differs from the other jobs of its campaign, as in the column `Parameters`")
    capability: str | None
    status: str
    attempt: int
    priority: int
    worker_id: str | None
    device: str | None = Field(description="the name of the worker's device; two devices may have the same name, but their ids differ")
    waiting_for: str | None = Field(description="what a pending job waits for")
    error: str | None
    error_kind: str | None
    retry_of: str | None
    created_at: str
    started_at: str | None
    ended_at: str | None
    figure: JobFigure | None = Field(default=None, description="only with `sort`: the figure that the jobs are sorted by")


class Step(BaseModel):
    at: str
    kind: str
    attempt: int
    worker_id: str | None
    detail: str


class JobWhole(JobBody):
    timeline: list[Step]
    stage: str | None
    progress: float | None
    workload: dict[str, Any]


class JobAnswer(BaseModel):
    job: JobWhole
    result: dict[str, Any] | None


class Jobs(BaseModel):
    count: int
    total: int | None = Field(
        description=f"how many jobs all pages together list; null if they are more than {MOST_COUNTED} and would have to be counted"
    )
    jobs: list[JobBody]
    next_cursor: str | None


class CancelledJob(BaseModel):
    job_id: str
    status: str


class RetriedJob(CancelledJob):
    campaign_id: str
    retry_of: str


@router.get("/jobs", response_model=Jobs, responses=documented(404, 422))
def list_jobs(
    ctx: Ctx,
    campaign: Annotated[str | None, Query(pattern=f"^{CAMPAIGN_ID.pattern}$")] = None,
    status: JobStatus | None = None,
    worker: Annotated[str | None, Query(pattern=f"^{WORKER_ID.pattern}$")] = None,
    since: Annotated[
        Moment | None, Query(description="only jobs that were created at this time or later; a time without a zone is UTC")
    ] = None,
    sort: Annotated[
        str | None,
        Query(
            json_schema_extra={"enum": list(DECLARED)},
            description="a figure, also one that only a result names: only jobs that have it are listed, the best first",
        ),
    ] = None,
    limit: Limit = 100,
    cursor: JobCursor = None,
) -> JSONResponse:
    """List jobs, the newest first. The jobs of one campaign (`campaign`) are listed in the order of their numbers."""
    after = job_of(cursor)
    wanted: dict[str, Any] = {"campaign_id": campaign, "status": status, "worker_id": worker, "since": since}
    figured: list[FigureRow] = []
    with ctx.store.read() as session:
        if sort is None:
            found = job_lists.page(session, **wanted, after=after, limit=limit + 1)
            total = job_lists.count(session, **wanted)
        else:
            largest_first = require_figure(session, sort, "sort") == "higher"
            pairs = figures.sorted_jobs(session, sort, largest_first=largest_first, **wanted, after=after, limit=limit + 1)
            found, figured = [job for job, _ in pairs], [figure for _, figure in pairs]
            total = figures.count_sorted(session, sort, **wanted)
        waiting = waits(ctx, session, found[:limit])
        varied = ctx.varied.of(session, {job.campaign_id for job in found[:limit]})
        shown = [_body(job, reason, varied[job.campaign_id]) for job, reason in zip(found[:limit], waiting, strict=True)]
        shown = [one | {"figure": _figure(figure)} for one, figure in zip(shown, figured, strict=False)] if sort is not None else shown
        more = found[limit - 1].id if len(found) > limit else None
    names = device_names(ctx, (one["worker_id"] for one in shown))
    shown = [one | {"device": names.get(one["worker_id"])} for one in shown]
    return JSONResponse({"count": len(shown), "total": total, "jobs": shown, "next_cursor": more})


@router.get("/jobs/{job_id}", response_model=JobAnswer, responses=documented(404))
def get_job(ctx: Ctx, job_id: JobId) -> JSONResponse:
    """Show one job with its history and, once it has ended, its result: the columns of the CSV by name."""
    with ctx.store.read() as session:
        job = jobs.get(session, job_id)
        timeline = [_step(event) for event in jobs.history(session, job_id)]
        (waiting,) = waits(ctx, session, [job])
        kept = results.get(session, job_id)
        varied = ctx.varied.of(session, [job.campaign_id])[job.campaign_id]
        row: Row | None = None
        if kept is not None and isinstance(kept.row, dict):
            row = whole_row(kept.row)
        elif JobStatus(job.status) in TERMINAL:
            row = row_of(job, varied)
        content = _body(job, waiting, varied) | {"timeline": timeline, "workload": _shown(job.workload)}
    content["device"] = device_names(ctx, [job.worker_id]).get(str(job.worker_id))
    stage, progress = _live(ctx, content)
    result = {"status": row["Status"], **row} if row is not None else None
    return JSONResponse({"job": content | {"stage": stage, "progress": progress}, "result": result})


def _body(job: Job, waiting: str | None, varied: Sequence[str]) -> dict[str, Any]:
    return {
        "job_id": job.id,
        "campaign_id": job.campaign_id,
        "model": job.model_name,
        "compute_unit": job.compute_unit,
        "options": shown_options(job.workload.get("options") if isinstance(job.workload, dict) else None),
        "parameters": content_without_logins(job_parameters(job.workload, varied) if isinstance(job.workload, dict) else {}),
        "capability": job.capability,
        "status": job.status,
        "attempt": job.attempt,
        "priority": job.priority,
        "worker_id": job.worker_id,
        "device": None,
        "waiting_for": waiting,
        "error": job.error,
        "error_kind": job.error_kind,
        "retry_of": job.retry_of,
        "created_at": text(job.created_at),
        "started_at": text(job.started_at),
        "ended_at": text(job.ended_at),
    }


def _figure(figure: FigureRow) -> dict[str, Any]:
    return {name: getattr(figure, name) for name in JobFigure.model_fields}


def _shown(workload: dict[str, Any]) -> dict[str, Any]:
    """Return a workload for display, without logins in the addresses of its model or service. It need not be readable by this version."""
    shown: dict[str, Any] = content_without_logins(shown_workload(workload))
    model = shown.get("model")
    if not isinstance(model, dict):
        return shown
    return shown | {"model": model | {"source": shown_address(str(model.get("source", "")))}}


def _step(event: Event) -> dict[str, Any]:
    return {"at": text(event.at), "kind": event.kind, "attempt": event.attempt, "worker_id": event.worker_id, "detail": event.detail}


def _live(ctx: Ctx, job: dict[str, Any]) -> tuple[str | None, float | None]:
    """Return the stage and the progress (0..1) that the running job's worker last reported. Both are None if not known."""
    if job["status"] != JobStatus.RUNNING or job["worker_id"] is None:
        return None, None
    try:
        worker = ctx.registry.get(job["worker_id"])
    except (NotFound, Unavailable):
        return None, None
    if worker.current_job == job["job_id"]:
        return worker.stage or None, worker.progress
    return worker.others.get(job["job_id"], (None, None))  # it takes turns with the current job


@router.post("/jobs/{job_id}/cancel", name="cancel_job", response_model=CancelledJob, responses=documented(404, 409))
def cancel(ctx: Ctx, job_id: JobId) -> JSONResponse:
    """Cancel a job. It is no error if it is cancelled already. If it is complete or failed, the answer is 409."""
    job = cancel_job(ctx, job_id)
    return JSONResponse({"job_id": job.id, "status": job.status})


@router.post(
    "/jobs/{job_id}/retry",
    name="retry_job",
    status_code=201,
    response_model=RetriedJob,
    responses=documented(404, 409) | {200: {"model": RetriedJob, "description": "An earlier retry of it has not ended yet: that one."}},
)
def retry(ctx: Ctx, job_id: JobId) -> JSONResponse:
    """Retry a failed or cancelled job as a new job of the same campaign, which runs again. The old job stays as it ended."""
    made = retry_job(ctx, job_id)
    body = {"job_id": made.job.id, "status": made.job.status, "campaign_id": made.job.campaign_id, "retry_of": job_id}
    return JSONResponse(body, status_code=200 if made.replayed else 201)
