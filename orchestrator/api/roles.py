"""Holds the table of which role may make which call. A call that is not listed needs the role `admin`, and a test reports it."""

from __future__ import annotations

from fastapi import Request
from starlette.types import Scope

from orchestrator.api.credentials import ANYONE, Caller
from shared.errors import Forbidden
from shared.tokens import Role

Roles = frozenset[Role]

ADMINS: Roles = frozenset({Role.ADMIN})
SUBMITTERS: Roles = ADMINS | {Role.SUBMITTER}
READERS: Roles = SUBMITTERS | {Role.VIEWER}
WORKERS: Roles = ADMINS | {Role.WORKER}
ALL: Roles = READERS | WORKERS

ASSETS = "/docs-assets"
# These calls need no token: the health of the system, and the description of the API, which is the same everywhere.
OPEN = frozenset({"/api/health", "/", "/docs", "/openapi.json"})

# Worker tokens are stored on many devices, so they may read as little as possible: single models (by hash) and single workers (by id), but
# no lists.
MAY_CALL: dict[str, Roles] = {
    "GET /api/health": ALL,
    "HEAD /api/health": ALL,
    "GET /api/tokens/current": ALL,
    "POST /api/tokens": ADMINS,
    "GET /api/tokens": ADMINS,
    "GET /api/tokens/{token_id}": ADMINS,
    "DELETE /api/tokens/{token_id}": ADMINS,
    "POST /api/campaigns": SUBMITTERS,
    "GET /api/campaigns": READERS,
    "GET /api/campaigns/{campaign_id}": READERS,
    "PATCH /api/campaigns/{campaign_id}": SUBMITTERS,
    "DELETE /api/campaigns/{campaign_id}": ADMINS,  # it cannot be undone, and a submitter may be a machine
    "POST /api/campaigns/{campaign_id}/cancel": SUBMITTERS,
    "POST /api/campaigns/{campaign_id}/score": SUBMITTERS,
    "GET /api/campaigns/{campaign_id}/results": READERS,
    "GET /api/campaigns/{campaign_id}/logs": READERS,
    "GET /api/campaigns/{campaign_id}/logs.tar.gz": READERS,
    "GET /api/campaigns/{campaign_id}/artifacts": READERS,
    "GET /api/campaigns/{campaign_id}/artifacts/{name}": READERS,
    "GET /api/campaigns/{campaign_id}/report": READERS,
    "GET /api/campaigns/{campaign_id}/report.md": READERS,
    "GET /api/campaigns/{campaign_id}/report.json": READERS,
    "GET /api/campaigns/{campaign_id}/summary": READERS,
    "GET /api/campaigns/{campaign_id}/comparison": READERS,
    "GET /api/compare": READERS,
    "GET /api/figures": READERS,
    "GET /api/jobs": READERS,
    "GET /api/jobs/{job_id}": READERS,
    "POST /api/jobs/{job_id}/cancel": SUBMITTERS,
    "POST /api/jobs/{job_id}/retry": SUBMITTERS,
    "POST /api/jobs/batch": WORKERS,
    "GET /api/results/files": READERS,
    "GET /api/results/download/{filename}": READERS,
    "GET /api/recipes": READERS,
    "POST /api/recipes/validate": READERS,  # this call writes nothing
    "GET /api/services": READERS,
    "POST /api/services/{service_id}/stop": SUBMITTERS,
    "GET /api/queue/status": READERS,
    "GET /api/queue/dead-letters": READERS,
    "GET /api/monitoring/stats": READERS,
    "GET /metrics": READERS,
    "GET /api/health/workers": READERS,
    "GET /api/workers": READERS,
    "POST /api/workers/compatibility": READERS,  # this call writes nothing
    "GET /api/workers/compatibility/matrix": READERS,
    "GET /api/workers/{worker_id}": ALL,
    "PATCH /api/workers/{worker_id}": ADMINS,
    "DELETE /api/workers/{worker_id}": ADMINS,
    "GET /api/workers/{worker_id}/health": ALL,
    "POST /api/register": WORKERS,
    "POST /api/workers/{worker_id}/heartbeat": WORKERS,
    "PUT /api/workers/{worker_id}/status": WORKERS,
    "PUT /api/workers/{worker_id}/reset": ADMINS,
    "HEAD /api/jobs/{job_id}/attempts/{attempt}/artifacts/{name}": WORKERS,
    "PUT /api/jobs/{job_id}/attempts/{attempt}/artifacts/{name}": WORKERS,
    "POST /api/models": SUBMITTERS,
    "GET /api/models/{sha256}": SUBMITTERS | WORKERS,  # viewers may read results, but not the weights of models
    "HEAD /api/models/{sha256}": SUBMITTERS | WORKERS,
    "POST /api/reset": ADMINS,
    "POST /api/prune": ADMINS,
}

_CALLER = "fleetmark.caller"


def is_open(scope: Scope) -> bool:
    path = scope["path"]
    return scope["method"] in ("GET", "HEAD") and (path in OPEN or path.startswith(f"{ASSETS}/"))


def set_caller(scope: Scope, caller: Caller) -> None:
    scope[_CALLER] = caller


def caller_of(scope: Scope) -> Caller | None:
    """Return who makes this call. It is None for open calls, and before the guard has run."""
    caller: Caller | None = scope.get(_CALLER)
    return caller


async def require_role(request: Request) -> None:
    """Check that the caller's role may make this call. Every route depends on this.

    Raises:
        Forbidden: it may not.
    """
    caller = caller_of(request.scope)
    if caller is ANYONE or (caller is None and is_open(request.scope)):
        return
    call = f"{request.method} {request.scope['route'].path_format}"
    allowed = MAY_CALL.get(call, ADMINS)
    if caller is None or caller.role not in allowed:
        role = caller.role if caller is not None else "nobody"
        raise Forbidden(f"a token with the role {role} may not {call}; it takes one with the role {' or '.join(sorted(allowed))}")
