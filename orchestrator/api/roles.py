"""Who may make which call: the one table of it. A call that is not in it is an administrator's, and a test says that it is missing."""

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
# Calls that need no token: whether the system is well, and the description of the API, which is the same wherever it runs.
OPEN = frozenset({"/api/health", "/", "/docs", "/openapi.json"})

# A worker token is on many devices, so it reads as little as can be: the models it runs (by their hash) and single workers (by their id),
# never what there is to list.
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
    "POST /api/campaigns/{campaign_id}/cancel": SUBMITTERS,
    "GET /api/campaigns/{campaign_id}/results": READERS,
    "GET /api/jobs": READERS,
    "GET /api/jobs/{job_id}": READERS,
    "POST /api/jobs/{job_id}/cancel": SUBMITTERS,
    "POST /api/jobs/{job_id}/retry": SUBMITTERS,
    "GET /api/results/files": READERS,
    "GET /api/results/download/{filename}": READERS,
    "GET /api/recipes": READERS,
    "POST /api/recipes/validate": READERS,  # writes nothing
    "GET /api/queue/status": READERS,
    "GET /api/queue/dead-letters": READERS,
    "GET /api/monitoring/stats": READERS,
    "GET /metrics": READERS,
    "GET /api/health/workers": READERS,
    "GET /api/workers": READERS,
    "GET /api/workers/{worker_id}": ALL,
    "DELETE /api/workers/{worker_id}": ADMINS,
    "GET /api/workers/{worker_id}/health": ALL,
    "POST /api/register": WORKERS,
    "POST /api/workers/{worker_id}/heartbeat": WORKERS,
    "PUT /api/workers/{worker_id}/status": WORKERS,
    "PUT /api/workers/{worker_id}/reset": ADMINS,
    "HEAD /api/jobs/{job_id}/attempts/{attempt}/artifacts/{name}": WORKERS,
    "PUT /api/jobs/{job_id}/attempts/{attempt}/artifacts/{name}": WORKERS,
    "POST /api/models": SUBMITTERS,
    "GET /api/models/{sha256}": SUBMITTERS | WORKERS,  # a viewer reads results; the weights are more than that
    "HEAD /api/models/{sha256}": SUBMITTERS | WORKERS,
    "POST /api/reset": ADMINS,
}

_CALLER = "fleetmark.caller"


def is_open(scope: Scope) -> bool:
    path = scope["path"]
    return scope["method"] in ("GET", "HEAD") and (path in OPEN or path.startswith(f"{ASSETS}/"))


def set_caller(scope: Scope, caller: Caller) -> None:
    scope[_CALLER] = caller


def caller_of(scope: Scope) -> Caller | None:
    """Who makes this call; None before anyone has looked, and for an open one."""
    caller: Caller | None = scope.get(_CALLER)
    return caller


async def require_role(request: Request) -> None:
    """A dependency of every route: the caller's role is among those that the table names for it.

    Raises:
        Forbidden: it is not.
    """
    caller = caller_of(request.scope)
    if caller is ANYONE or (caller is None and is_open(request.scope)):
        return
    call = f"{request.method} {request.scope['route'].path_format}"
    allowed = MAY_CALL.get(call, ADMINS)
    if caller is None or caller.role not in allowed:
        role = caller.role if caller is not None else "nobody"
        raise Forbidden(f"a token with the role {role} may not {call}; it takes one with the role {' or '.join(sorted(allowed))}")
