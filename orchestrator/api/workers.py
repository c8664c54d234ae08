"""Serves the calls about workers: register, list, show, change and remove them."""

from __future__ import annotations

import logging
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response

from orchestrator.api.bodies import RawBody, described, parse, parse_optional
from orchestrator.api.context import Ctx
from orchestrator.api.errors import documented
from orchestrator.api.health import WorkerHealth, worker_health
from orchestrator.api.ids import WorkerId
from orchestrator.api.roles import caller_of
from orchestrator.api.times import text_of_epoch
from orchestrator.api.worker_bodies import (
    Beat,
    BeatAnswer,
    Registered,
    ResetAnswer,
    StatusChange,
    WorkerBody,
    WorkerChange,
    Workers,
    WorkerState,
)
from orchestrator.api.worker_texts import WorkerTexts
from orchestrator.operations.dispatching import fill_queues
from orchestrator.operations.enrolment import broker_for, remove, report_key_for, require_its_token
from orchestrator.registry import WorkerRecord
from shared.capabilities import known_names, names_schema, resolve
from shared.clock import clock_warning
from shared.errors import FieldError, InvalidInput
from shared.tokens import Role
from shared.workers import Registration, WorkerStatus

log = logging.getLogger(__name__)
router = APIRouter(prefix="/api", tags=["workers"])

MAX_KEPT = 64 * 2**10  # characters of JSON, for each field with free content

EXAMPLE = {
    "device_name": "pi-5",
    "ip_address": "192.0.2.7",
    "capabilities": ["cpu.onnx"],
    "device_info": {"Soc": "BCM2712", "Ram": 8, "DeviceOs": "Linux", "DeviceOsVersion": "6.12", "UDID": "0123-4567"},
}


@router.post(
    "/register",
    name="register_worker",
    response_model=Registered,
    responses=documented(400, 403, 409, 413, 422),
    openapi_extra=described(Registration, example=EXAMPLE),
)
def register(ctx: Ctx, body: RawBody, request: Request) -> JSONResponse:
    """Register a device. The same UDID is the same worker. If another living process uses that UDID, the answer is 409."""
    received_at = ctx.clock.now().timestamp()
    registration = parse(Registration, body)
    offset_s = registration.clock - received_at if registration.clock is not None else None
    for name in ("device_info", "hardware", "labels"):
        _refuse_too_much(name, registration.model_dump_json(include={name}))
    changes: dict[str, Any] = {"clock": None, "capabilities": _resolved(registration.capabilities)}
    if not registration.ip_address and request.client is not None:
        changes["ip_address"] = request.client.host
    token_id = _token_of_worker(request)
    require_its_token(ctx, registration.device_info.UDID, token_id)
    registration = registration.model_copy(update=changes)
    # The worker is entered last: if it cannot be given its key or its login, no job may be sent to it.
    worker_id = ctx.registry.id_for(registration)
    key = report_key_for(ctx, worker_id, token_id)
    broker = broker_for(ctx, worker_id, registration.capabilities)
    worker_id, action = ctx.registry.register(registration, offset_s, worker_id)
    if warning := clock_warning(offset_s):
        log.warning("%s (%s): %s", worker_id, registration.device_name, warning)
    fill_queues(ctx, f"{worker_id} is registered")  # jobs may have waited for this worker
    told: dict[str, Any] = {"worker_id": worker_id, "status": "registered", "action": action, "broker_url": broker, "report_key": key}
    told["clock_offset_s"] = None if offset_s is None else round(offset_s, 3)
    return JSONResponse(told)


def _token_of_worker(request: Request) -> str | None:
    """Return the id of the caller's token if its role is `worker`, else None."""
    caller = caller_of(request.scope)
    return caller.token_id if caller is not None and caller.role is Role.WORKER else None


def _refuse_too_much(field: str, kept: str) -> None:
    """Refuse a field that is too large. It stays in the memory of Redis, and sweeps and lists read it again and again."""
    if len(kept) > MAX_KEPT:
        message = f"is {len(kept)} characters of JSON; at most {MAX_KEPT} are kept of a worker"
        raise InvalidInput(f"the body is not valid: {field}: {message}", fields=[FieldError(field, message)])


def _resolved(names: list[str]) -> list[str]:
    """Return the capabilities for these names. A label stands for all of its capabilities."""
    found: dict[str, None] = {}
    for index, name in enumerate(names):
        try:
            found |= dict.fromkeys(resolve(name))
        except InvalidInput as error:
            raise InvalidInput(error.detail, fields=[FieldError(f"capabilities.{index}", error.detail)]) from error
    return list(found)


@router.get("/workers", response_model=Workers, responses=documented(422))
def list_workers(
    request: Request,
    ctx: Ctx,
    capability: Annotated[
        str | None, Query(max_length=64, description="a capability or its label", json_schema_extra=names_schema(known_names()))
    ] = None,
    status: WorkerStatus | None = None,
) -> Response:
    """List every worker, in the order of registration. A worker that left is listed for another day."""
    wanted = set(resolve(capability)) if capability is not None else None
    texts: WorkerTexts = request.app.state.worker_texts
    found = [
        text
        for worker, text in texts.of(ctx.registry.everyone(), _body)
        if (status is None or worker.status is status) and (wanted is None or wanted & set(worker.registration.capabilities))
    ]
    return Response(f'{{"count":{len(found)},"workers":[{",".join(found)}]}}', media_type="application/json")


def _body(worker: WorkerRecord) -> dict[str, Any]:
    registration = worker.registration
    return {
        "worker_id": worker.id,
        "device_name": registration.device_name,
        "ip_address": registration.ip_address,
        "capabilities": registration.capabilities,
        "status": worker.status.value,
        "registered_at": text_of_epoch(worker.registered_at),
        "last_seen": text_of_epoch(worker.last_seen),
        "device_info": worker.device_info,
        "current_job": worker.current_job or None,
        "stage": worker.stage or None,
        "progress": worker.progress,
        "labels": registration.labels,
        "agent_type": registration.agent_type,
        "version": registration.version,
        "metrics": worker.metrics,
        "quarantine": {"reason": rest.reason, "until": text_of_epoch(rest.until)} if (rest := worker.quarantine) else None,
        "clock_offset_s": worker.clock_offset_s,
    }


@router.get("/workers/{worker_id}", response_model=WorkerBody, responses=documented(404))
def get_worker(ctx: Ctx, worker_id: WorkerId) -> JSONResponse:
    """Show one worker."""
    return JSONResponse(_body(ctx.registry.get(worker_id)))


@router.patch(
    "/workers/{worker_id}",
    name="update_worker",
    response_model=WorkerBody,
    responses=documented(400, 404, 409, 413, 422),
    openapi_extra=described(WorkerChange, example={"labels": {"site": "lab"}}),
)
def patch_worker(ctx: Ctx, worker_id: WorkerId, body: RawBody) -> JSONResponse:
    """Change a worker's labels, by which recipes find it (`requires.labels`), or the capabilities of a device that is driven by REST.

    A worker process advertises itself what it can do, so its capabilities cannot be changed here (409). Results name the labels that the
    device itself was started with.
    """
    wanted = parse(WorkerChange, body)
    _refuse_too_much("labels", wanted.model_dump_json(include={"labels"}))
    if "capabilities" in wanted.model_fields_set:
        ctx.registry.changes.set_capabilities(worker_id, _resolved(wanted.capabilities))
    if "labels" in wanted.model_fields_set:
        ctx.registry.changes.set_labels(worker_id, wanted.labels)
    changed = ctx.registry.get(worker_id)
    fill_queues(ctx, f"{worker_id} is changed")  # jobs may have waited for a device with these labels
    return JSONResponse(_body(changed))


@router.delete("/workers/{worker_id}", response_model=WorkerState, responses=documented(404))
def delete_worker(ctx: Ctx, worker_id: WorkerId) -> JSONResponse:
    """Remove a worker: its jobs go back, and its login at the broker ends. To keep it out, revoke its token first."""
    remove(ctx, worker_id)
    return JSONResponse({"worker_id": worker_id, "status": WorkerStatus.GONE.value})


@router.put(
    "/workers/{worker_id}/status",
    name="set_worker_status",
    response_model=WorkerState,
    responses=documented(400, 404, 409, 413, 422),
    openapi_extra=described(StatusChange, example={"status": "busy"}),
)
def put_status(ctx: Ctx, worker_id: WorkerId, body: RawBody) -> JSONResponse:
    """Set a worker's state: active → busy → cleanup → active, or any state → faulty → active. Its present state is accepted too."""
    wanted = WorkerStatus(parse(StatusChange, body).status)
    ctx.registry.set_status(worker_id, wanted)
    return JSONResponse({"worker_id": worker_id, "status": wanted.value})


@router.post(
    "/workers/{worker_id}/heartbeat",
    name="send_heartbeat",
    response_model=BeatAnswer,
    responses=documented(400, 404, 409, 413, 422),
    openapi_extra=described(Beat, example={"status": "active", "metrics": {"cpu_percent": 3.5}}, required=False),
)
def heartbeat(ctx: Ctx, worker_id: WorkerId, body: RawBody) -> JSONResponse:
    """Record that a device is alive. A faulty one becomes active again."""
    beat = parse_optional(Beat, body)
    _refuse_too_much("metrics", beat.model_dump_json(include={"metrics"}))
    status = WorkerStatus(beat.status) if beat.status is not None else None
    state = ctx.registry.heartbeat(worker_id, status, beat.current_job or "", beat.metrics)
    return JSONResponse({"worker_id": worker_id, "status": state.value, "action": "updated"})


@router.get("/workers/{worker_id}/health", response_model=WorkerHealth, responses=documented(404))
def get_worker_health(ctx: Ctx, worker_id: WorkerId) -> JSONResponse:
    """Say when this worker last sent a heartbeat, and whether it is healthy."""
    return JSONResponse(worker_health(ctx.registry, ctx.registry.get(worker_id)))


@router.put("/workers/{worker_id}/reset", response_model=ResetAnswer, responses=documented(404, 409))
def reset_worker(ctx: Ctx, worker_id: WorkerId) -> JSONResponse:
    """Make a worker active and end its quarantine, whatever its state. A worker that is gone must register again."""
    ctx.registry.reset(worker_id)
    return JSONResponse({"worker_id": worker_id, "status": "active", "message": f"worker {worker_id} is active again"})
