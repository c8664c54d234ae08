"""Serves the calls about services that workers run for a load: list them, and stop one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from orchestrator.api.context import Ctx
from orchestrator.api.errors import documented
from orchestrator.api.times import text_of_epoch
from orchestrator.operations.cancel import cancel_job
from orchestrator.operations.context import Context
from shared.errors import IllegalTransition, NotFound
from shared.workers import WorkerStatus

router = APIRouter(prefix="/api", tags=["services"])

LATEST = 4e9  # seconds since 1970; a later start is nonsense, as is NaN
IDLE = "idle"  # the state of a service that waits for the next job of its campaign
MAX_TEXT = 300  # characters of what a worker says; it may send anything
ServiceId = Annotated[str, Path(max_length=128, description="the id of a service, as `GET /api/services` lists it")]


class ServiceBody(BaseModel):
    service_id: str
    type: str = Field(examples=["redis"])
    address: str = Field(description="where its clients find it on its device")
    state: str = Field(description="`starting`, `healthy`, or `idle` between two jobs of a campaign, as its worker said last")
    launcher: str
    version: str
    started_at: str | None
    job_id: str
    worker_id: str
    device_name: str


class Services(BaseModel):
    count: int
    services: list[ServiceBody]


class StoppedService(BaseModel):
    service_id: str
    job_id: str
    status: str = Field(examples=["stopping"])
    job_cancelled: bool = Field(
        description="false for a service that is idle between two jobs of a campaign, and if its job has ended or was removed"
    )


@router.get("/services", response_model=Services, responses=documented())
def list_services(ctx: Ctx) -> JSONResponse:
    """List the services that workers run at the moment, as their last heartbeats said. Services that somebody else runs are not listed."""
    found = list(_running(ctx))
    return JSONResponse({"count": len(found), "services": found})


@router.post("/services/{service_id}/stop", response_model=StoppedService, responses=documented(404, 409))
def stop_service(ctx: Ctx, service_id: ServiceId) -> JSONResponse:
    """Stop a service at the next heartbeat of its worker. Its job is cancelled, because it has nothing to measure any more.

    A service that is idle between two jobs of a campaign is ended alone, and the next job of the campaign starts a new one.
    """
    service = next((one for one in _running(ctx) if one["service_id"] == service_id), None)
    if service is None:
        raise NotFound(f"no worker runs a service {service_id!r}; GET /api/services lists those that run")
    cancelled = service["state"] != IDLE and _cancelled(ctx, service["job_id"])
    if not cancelled:
        ctx.registry.stop_service(service["worker_id"], service_id)
    return JSONResponse({"service_id": service_id, "job_id": service["job_id"], "status": "stopping", "job_cancelled": cancelled})


def _cancelled(ctx: Context, job_id: str) -> bool:
    """Cancel the job of a service.

    Returns:
        False if the job has ended, was removed, or never existed. The worker's last heartbeat may be older than its end.
    """
    try:
        cancel_job(ctx, job_id)
    except (IllegalTransition, NotFound):
        return False
    return True


def _running(ctx: Context) -> Iterator[dict[str, Any]]:
    for worker in ctx.registry.everyone():
        listed = worker.metrics.get("services") if worker.status is not WorkerStatus.GONE else None
        for service in listed if isinstance(listed, list) else []:
            if isinstance(service, Mapping) and service.get("id") and service.get("job"):
                at = service.get("at")
                yield {
                    "service_id": _text(service, "id"),
                    **{key: _text(service, key) for key in ("type", "address", "state", "launcher", "version")},
                    "started_at": text_of_epoch(float(at)) if isinstance(at, int | float) and 0 <= at < LATEST else None,
                    "job_id": _text(service, "job"),
                    "worker_id": worker.id,
                    "device_name": worker.registration.device_name,
                }


def _text(service: Mapping[str, Any], key: str) -> str:
    return str(service.get(key, ""))[:MAX_TEXT]
