"""Builds the FastAPI application: routers under /api, and /metrics at the root."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version

from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from orchestrator.api import (
    artifacts,
    batches,
    campaigns,
    compare,
    compatibility,
    figures,
    health,
    jobs,
    logs,
    matrix,
    metrics,
    models,
    monitoring,
    outputs,
    prune,
    queues,
    recipes,
    reset,
    results,
    services,
    tokens,
    workers,
)
from orchestrator.api.access import Access
from orchestrator.api.credentials import Credentials
from orchestrator.api.docs import serve_docs
from orchestrator.api.errors import documented, install_handlers
from orchestrator.api.headers import SafeHeaders
from orchestrator.api.hosts import resolves_to_loopback
from orchestrator.api.limits import BodyLimits
from orchestrator.api.metrics import Metrics
from orchestrator.api.openapi import describe
from orchestrator.api.query import refuse_unknown
from orchestrator.api.recipe_bodies import RecipeThreads
from orchestrator.api.roles import require_role
from orchestrator.api.security import Guard
from orchestrator.api.worker_texts import WorkerTexts
from orchestrator.operations.context import Context

ROUTERS = (
    health,
    compatibility,
    workers,
    campaigns,
    batches,
    jobs,
    results,
    outputs,
    compare,
    matrix,
    figures,
    queues,
    monitoring,
    models,
    artifacts,
    recipes,
    services,
    reset,
    tokens,
    logs,
    prune,
)


def _operation_id(route: APIRoute) -> str:
    """Return a call's name in the OpenAPI document, from which generators of clients name their functions: `submit_campaign`."""
    return route.name


@cache
def _calls() -> list[BaseRoute]:
    """Return the routes of every call. FastAPI works each out at its first use, and all applications of a process share that."""
    calls = APIRouter(
        dependencies=[Depends(require_role), Depends(refuse_unknown)],
        responses=documented(401, 403, 422, 429, 503),
        generate_unique_id_function=_operation_id,
    )
    for module in (*ROUTERS, metrics):
        calls.include_router(module.router)
    return calls.routes


def make_api(ctx: Context) -> FastAPI:
    """Build the application on `ctx`. This opens no connection. While Redis or the database is away, calls answer 503.

    Raises:
        OSError: the host in the settings does not resolve.
    """
    app = FastAPI(
        title="Fleetmark",
        summary="Benchmarks on every machine a team owns.",
        version=version("fleetmark"),
        description=(
            "Errors have one shape: `error`, `detail` and, for a body that is not valid, `fields`. JSON bodies are accepted "
            "whatever their Content-Type. Lists are pages: `limit` and `cursor` in, `next_cursor` out."
        ),
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        routes=_calls(),
    )
    app.state.context = ctx
    app.state.metrics = Metrics(ctx)
    app.state.credentials = Credentials(ctx, always=not resolves_to_loopback(ctx.settings.host))
    app.state.recipe_threads = RecipeThreads()
    app.state.worker_texts = WorkerTexts()
    install_handlers(app)
    describe(app)
    serve_docs(app)
    # The middleware that is added last sees a request first.
    app.add_middleware(BodyLimits, settings=ctx.settings)
    app.add_middleware(Guard, credentials=app.state.credentials, bound=ctx.settings.host)
    app.add_middleware(SafeHeaders)
    app.add_middleware(Access, clock=ctx.clock, metrics=app.state.metrics)
    return app
