"""Serves the calls about recipes: list those in the orchestrator's folder, and check one."""

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
from orchestrator.domain.planning import of_recipe, plan
from orchestrator.operations.context import Context
from orchestrator.operations.known_workers import known_workers
from orchestrator.operations.model_sources import unresolved
from shared.errors import FleetmarkError, InvalidInput
from shared.recipes import Recipe, load_recipe

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
    """List the recipes in the orchestrator's folder. A recipe that is not valid is listed with the reason."""
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
        except OSError as error:  # its text would name the folder on this machine
            why = f"{path.name} cannot be read: {error.strerror}; make it readable for the orchestrator"
            found.append({"filename": path.name, "name": None, "notes": "", "error": why})
        except UnicodeDecodeError as error:
            why = f"{path.name} is not text in UTF-8: {error.reason} at byte {error.start}; save it as UTF-8"
            found.append({"filename": path.name, "name": None, "notes": "", "error": why})
        except FleetmarkError as error:
            found.append({"filename": path.name, "name": None, "notes": "", "error": error.detail})
        else:
            found.append({"filename": path.name, "name": recipe.name, "notes": recipe.notes, "error": None})
    return JSONResponse({"count": len(found), "recipes": found})


@router.post(
    "/recipes/validate",
    name="validate_recipe",
    response_model=Valid,
    responses=documented(400, 413, 422),
    openapi_extra=described(Recipe, example=RECIPE_EXAMPLE, yaml=RECIPE_EXAMPLE),
)
async def validate(ctx: Ctx, body: RawBody, request: Request) -> JSONResponse:
    """Check a recipe as a submission would, but without looking for its models. Nothing is fetched or written."""
    read = yaml_recipe if is_yaml(request.headers.get("content-type", "")) else json_recipe
    return await to_thread.run_sync(_validate, ctx, read, body, limiter=request.app.state.recipe_threads.checking)


def _validate(ctx: Context, read: Callable[[bytes], Recipe], body: bytes) -> JSONResponse:
    request = of_recipe(read(body))
    planned = plan(request, [unresolved(entry) for entry in request.entries], known_workers(ctx))
    return JSONResponse({"valid": True, "name": request.name, "total_jobs": len(planned.jobs), "warnings": list(planned.warnings)})
