"""The FastAPI application: routers under /api, /metrics at the root, one shape of error."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import Depends, FastAPI

from orchestrator.api import (
    artifacts,
    campaigns,
    health,
    jobs,
    metrics,
    models,
    monitoring,
    queues,
    recipes,
    reset,
    results,
    workers,
)
from orchestrator.api.access import Access
from orchestrator.api.docs import serve_docs
from orchestrator.api.errors import documented, install_handlers
from orchestrator.api.limits import BodyLimit
from orchestrator.api.metrics import Metrics
from orchestrator.api.openapi import describe
from orchestrator.api.query import refuse_unknown
from orchestrator.api.security import Guard
from orchestrator.operations.context import Context

ROUTERS = (health, workers, campaigns, jobs, results, queues, monitoring, models, artifacts, recipes, reset)


def make_api(ctx: Context) -> FastAPI:
    """Build the application on `ctx`. Opens nothing: Redis and the database may be away, calls then answer 503."""
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
    )
    app.state.context = ctx
    app.state.metrics = Metrics(ctx)
    for module in ROUTERS:
        app.include_router(module.router, dependencies=[Depends(refuse_unknown)], responses=documented(401, 403, 422, 503))
    app.include_router(metrics.router, dependencies=[Depends(refuse_unknown)], responses=documented(401, 403, 422))
    install_handlers(app)
    describe(app)
    serve_docs(app)
    # The last one added is the first to see a request.
    app.add_middleware(BodyLimit, settings=ctx.settings)
    app.add_middleware(Guard, token=ctx.settings.token)
    app.add_middleware(Access, clock=ctx.clock, metrics=app.state.metrics)
    return app
