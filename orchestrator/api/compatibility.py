"""Serves the calls that say which worker can do which work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from orchestrator.api.bodies import RawBody, described, parse, read_json
from orchestrator.api.campaigns import RECIPE_EXAMPLE
from orchestrator.api.context import Ctx
from orchestrator.api.errors import documented
from orchestrator.api.pages import WorkerCursor, worker_of
from orchestrator.api.recipe_bodies import is_yaml, json_recipe, yaml_recipe
from orchestrator.domain.compatibility import Compatibility
from orchestrator.domain.works import Work, works_of_fleet
from orchestrator.operations.compatibility import Answer, answers, page_of_workers, works_of_job, works_of_recipe
from orchestrator.operations.context import Context
from shared.capabilities import resolve
from shared.ids import JOB_ID
from shared.recipes import Recipe
from shared.strict import Strict

router = APIRouter(prefix="/api", tags=["workers"])

Limit = Annotated[int, Query(ge=1, le=500, description="the most workers in one answer")]


class OfJob(Strict):
    """Names a job whose work is compared with the workers."""

    job_id: str = Field(pattern=f"^{JOB_ID.pattern}$", description="the id of a job")


class WorkBody(BaseModel):
    title: str = Field(examples=["tiny-llama"])
    kind: str = Field(examples=["generation"])
    compute_unit: str = Field(examples=["cpu.torch"])
    requires: dict[str, Any] = Field(description="what the recipe requires of a device")
    needs: dict[str, Any] = Field(description="what the work itself needs: its kind, a service to start, memory in MB, a type of weights")


class Ability(BaseModel):
    title: str
    compute_unit: str
    can_run: bool
    capability: str | None = Field(description="the capability with which the worker would run it")
    missing_requirements: list[str]
    warnings: list[str]
    supported_features: list[str]


class WorkerAbilities(BaseModel):
    worker_id: str
    device_name: str
    status: str
    agent_type: str
    can_run: bool = Field(description="whether it can do all of the works; of the matrix, whether it can do any")
    missing_requirements: list[str] = Field(description="of all works; with several works, each begins with the work")
    warnings: list[str]
    supported_features: list[str]
    works: list[Ability] = Field(description="the same for each work")


class CompatibleWorkers(BaseModel):
    works: list[WorkBody]
    count: int
    able: int = Field(description="how many of the listed workers can do all of the works")
    workers: list[WorkerAbilities]
    next_cursor: str | None


class AbilityMatrix(BaseModel):
    count: int
    workers: list[WorkerAbilities]
    next_cursor: str | None


@router.post(
    "/workers/compatibility",
    name="find_compatible_workers",
    response_model=CompatibleWorkers,
    responses=documented(400, 404, 413, 422),
    openapi_extra=described(OfJob, Recipe, example=RECIPE_EXAMPLE, yaml=RECIPE_EXAMPLE),
)
async def post_compatibility(ctx: Ctx, body: RawBody, request: Request, limit: Limit = 500, cursor: WorkerCursor = None) -> JSONResponse:
    """Say which workers can do the work of a recipe, or of a job, and what is missing at the others. Nothing is submitted.

    This is the function by which jobs are placed. A model is looked at if it was uploaded; otherwise its memory is not known.
    """
    works = _works_in(ctx, body, is_yaml(request.headers.get("content-type", "")))
    return await to_thread.run_sync(_compare, ctx, works, limit, worker_of(cursor), limiter=request.app.state.recipe_threads.checking)


@router.get("/workers/compatibility/matrix", response_model=AbilityMatrix, responses=documented(422))
def get_compatibility_matrix(
    ctx: Ctx,
    capability: Annotated[str | None, Query(max_length=64, description="only this capability, or the capabilities of this label")] = None,
    limit: Limit = 100,
    cursor: WorkerCursor = None,
) -> JSONResponse:
    """Say for each worker which kinds of work it can do with each capability, and which services it can start."""
    wanted = set(resolve(capability)) if capability is not None else None
    works = [work for work in works_of_fleet() if wanted is None or work.compute_unit in wanted]
    workers, more = page_of_workers(ctx, worker_of(cursor), limit)
    shown = [_worker(answer, works, every=False) for answer in answers(ctx, works, workers)]
    return JSONResponse({"count": len(shown), "workers": shown, "next_cursor": more})


def _works_in(ctx: Context, body: bytes, as_yaml: bool) -> Callable[[], list[Work]]:
    """Return a function that reads the works in a body, because reading a large recipe takes time."""

    def read() -> list[Work]:
        if not as_yaml:
            content = read_json(body)
            if isinstance(content, dict) and "job_id" in content:
                return works_of_job(ctx, parse(OfJob, body).job_id)
        return works_of_recipe(ctx, (yaml_recipe if as_yaml else json_recipe)(body))

    return read


def _compare(ctx: Context, read: Callable[[], list[Work]], limit: int, after: str | None) -> JSONResponse:
    works = read()
    workers, more = page_of_workers(ctx, after, limit)
    shown = [_worker(answer, works, every=True) for answer in answers(ctx, works, workers)]
    return JSONResponse(
        {
            "works": [_work(work) for work in works],
            "count": len(shown),
            "able": sum(worker["can_run"] for worker in shown),
            "workers": shown,
            "next_cursor": more,
        }
    )


def _work(work: Work) -> dict[str, Any]:
    return {
        "title": work.title,
        "kind": work.kind,
        "compute_unit": work.compute_unit,
        "requires": work.requires.model_dump(mode="json", exclude_defaults=True),
        "needs": work.needs.stored() or {},
    }


def _worker(answer: Answer, works: Sequence[Work], *, every: bool) -> dict[str, Any]:
    registration = answer.worker.registration
    can = [found.can_run for found in answer.found]
    return {
        "worker_id": answer.worker.id,
        "device_name": registration.device_name,
        "status": answer.worker.status.value,
        "agent_type": registration.agent_type,
        "can_run": all(can) if every else any(can),
        "missing_requirements": list(_joined(works, answer.found, "missing_requirements")),
        "warnings": [*answer.remarks, *_joined(works, answer.found, "warnings")],
        "supported_features": list(dict.fromkeys(text for found in answer.found for text in found.supported_features)),
        "works": [_ability(work, found) for work, found in zip(works, answer.found, strict=True)],
    }


def _joined(works: Sequence[Work], found: Sequence[Compatibility], name: str) -> Iterator[str]:
    """Return the texts of all works, each once. With several works, a text begins with the work that it is about."""
    for work, one in zip(works, found, strict=True):
        for text in getattr(one, name):
            yield f"{_named(work)}: {text}" if len(works) > 1 else text


def _named(work: Work) -> str:
    return work.title if work.compute_unit in work.title else f"{work.title} on {work.compute_unit}"


def _ability(work: Work, found: Compatibility) -> dict[str, Any]:
    return {
        "title": work.title,
        "compute_unit": work.compute_unit,
        "can_run": found.can_run,
        "capability": found.capability or None,
        "missing_requirements": list(found.missing_requirements),
        "warnings": list(found.warnings),
        "supported_features": list(found.supported_features),
    }
