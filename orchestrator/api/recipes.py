"""Recipes: those that are here, and whether one is valid."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import JSONResponse

from orchestrator.api.bodies import RawBody, described, read_json
from orchestrator.api.campaigns import RECIPE_EXAMPLE, is_yaml, yaml_recipe
from orchestrator.api.context import Ctx
from orchestrator.api.errors import documented
from orchestrator.domain.planning import plan_recipe
from orchestrator.operations.context import Context
from shared.errors import FleetmarkError, InvalidInput, Unavailable
from shared.recipes import Recipe, load_recipe, parse_recipe
from shared.recipes.parse import MAX_RECIPE_BYTES, model_name
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
def list_recipes(ctx: Ctx) -> JSONResponse:
    """The recipes in the orchestrator's folder; one that is not valid says why."""
    folder = ctx.settings.recipes_dir
    paths = sorted(path for path in folder.glob("*.y*ml") if path.is_file()) if folder.is_dir() else []
    found: list[dict[str, Any]] = []
    for path in paths:
        try:
            if path.stat().st_size > MAX_RECIPE_BYTES:
                raise InvalidInput(f"{path.name} is larger than {MAX_RECIPE_BYTES // 2**20} MB")
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
def validate(ctx: Ctx, body: RawBody, request: Request) -> JSONResponse:
    """Check a recipe as submitting it would, its models aside: nothing is fetched, nothing is written."""
    recipe = yaml_recipe(body) if is_yaml(request.headers.get("content-type", "")) else parse_recipe(read_json(body))
    models = {entry.model: ModelRef(source=entry.model, name=(entry.name or model_name(entry.model))[:255]) for entry in recipe.entries()}
    plan = plan_recipe(recipe, models, _known_workers(ctx))
    return JSONResponse({"valid": True, "name": plan.name, "total_jobs": len(plan.jobs), "warnings": list(plan.warnings)})


def _known_workers(ctx: Context) -> list[Any]:
    try:
        return [worker.known() for worker in ctx.registry.all()]
    except Unavailable:
        return []
