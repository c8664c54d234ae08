"""Recipes: those that are here, and whether one is valid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import JSONResponse

from orchestrator.api.bodies import RawBody, described
from orchestrator.api.campaigns import RECIPE_EXAMPLE
from orchestrator.api.context import Ctx
from orchestrator.api.errors import documented
from orchestrator.api.recipe_bodies import MAX_YAML_BYTES, is_yaml, json_recipe, yaml_recipe
from orchestrator.domain.planning import plan_recipe
from orchestrator.operations.context import Context
from shared.errors import FleetmarkError, InvalidInput, Unavailable
from shared.recipes import Recipe, load_recipe
from shared.recipes.parse import model_name
from shared.workloads import ModelRef

router = APIRouter(prefix="/api", tags=["recipes"])


class RecipeBrief(BaseModel):
    filename: str
    name: str | None
    notes: str
    error: str | None


class Recipes(BaseModel):
    count: int
    recipes: list[RecipeBrief]


class Valid(BaseModel):
    valid: bool
    name: str
    total_jobs: int
    warnings: list[str]


@router.get("/recipes", response_model=Recipes)
async def list_recipes(ctx: Ctx, request: Request) -> JSONResponse:
    """The recipes in the orchestrator's folder; one that is not valid says why."""
    return await to_thread.run_sync(_list, ctx, limiter=request.app.state.recipe_threads.checking)


def _list(ctx: Context) -> JSONResponse:
    folder = ctx.settings.recipes_dir
    paths = sorted(path for path in folder.glob("*.y*ml") if path.is_file()) if folder.is_dir() else []
    found: list[dict[str, Any]] = []
    for path in paths:
        try:
            if path.stat().st_size > MAX_YAML_BYTES:
                raise InvalidInput(f"{path.name} is larger than {MAX_YAML_BYTES} bytes")
            recipe = load_recipe(path.read_text(encoding="utf-8"), source=path.name)
        except (FleetmarkError, OSError, UnicodeDecodeError) as error:
            found.append({"filename": path.name, "name": None, "notes": "", "error": str(error)})
        else:
            found.append({"filename": path.name, "name": recipe.name, "notes": recipe.notes, "error": None})
    return JSONResponse({"count": len(found), "recipes": found})


@router.post(
    "/recipes/validate",
    response_model=Valid,
    responses=documented(400, 413, 422),
    openapi_extra=described(Recipe, example=RECIPE_EXAMPLE, yaml=RECIPE_EXAMPLE),
)
async def validate(ctx: Ctx, body: RawBody, request: Request) -> JSONResponse:
    """Check a recipe as submitting it would, its models aside: nothing is fetched, nothing is written."""
    read = yaml_recipe if is_yaml(request.headers.get("content-type", "")) else json_recipe
    return await to_thread.run_sync(_validate, ctx, read, body, limiter=request.app.state.recipe_threads.checking)


def _validate(ctx: Context, read: Callable[[bytes], Recipe], body: bytes) -> JSONResponse:
    recipe = read(body)
    models = {entry.model: ModelRef(source=entry.model, name=(entry.name or model_name(entry.model))[:255]) for entry in recipe.entries()}
    plan = plan_recipe(recipe, models, _known_workers(ctx))
    return JSONResponse({"valid": True, "name": plan.name, "total_jobs": len(plan.jobs), "warnings": list(plan.warnings)})


def _known_workers(ctx: Context) -> list[Any]:
    try:
        return [worker.known() for worker in ctx.registry.all()]
    except Unavailable:
        return []
