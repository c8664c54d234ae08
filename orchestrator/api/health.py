"""Serves the calls about the health of Redis, the database and the workers."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import JSONResponse

from orchestrator.api.context import Ctx
from orchestrator.api.errors import RETRY_AFTER_S
from orchestrator.api.times import text_of_epoch
from orchestrator.registry import Registry, WorkerRecord
from orchestrator.reports.columns import utc_text
from orchestrator.store import Store
from shared.brokers import host_and_port
from shared.errors import Unavailable
from shared.workers import WorkerStatus

router = APIRouter(prefix="/api", tags=["health"])


class RedisHealth(BaseModel):
    connected: bool
    host: str
    port: int
    tls: bool
    latency_ms: float | None
    problems: list[str]  # what is wrong with Redis and what to do; there may be problems even while it is connected


class DatabaseHealth(BaseModel):
    connected: bool
    kind: str
    latency_ms: float | None
    problems: list[str]  # why the database takes no writes, and what to do


class Health(BaseModel):
    status: str
    timestamp: str
    redis: RedisHealth
    database: DatabaseHealth
    version: str


class WorkerHealth(BaseModel):
    worker_id: str
    device_name: str
    status: str
    is_healthy: bool
    last_heartbeat: str
    seconds_since_heartbeat: float


class WorkersHealth(BaseModel):
    total: int
    healthy: int
    unhealthy: int
    workers: list[WorkerHealth]


_DEGRADED: dict[int | str, dict[str, Any]] = {
    503: {"model": Health, "description": "Degraded: Redis or the database is away, or the database takes no writes."}
}


@router.get("/health", response_model=Health, responses=_DEGRADED)
@router.head("/health", name="check_health", response_model=Health, responses=_DEGRADED)
def get_health(ctx: Ctx) -> JSONResponse:
    """Say whether Redis and the database answer and take writes, and what is wrong with the setup of Redis. This needs no token."""
    host, port = host_and_port(ctx.settings.redis_url)
    redis_ms, problems = _redis(ctx.registry)
    database_ms, unwritable = _database(ctx.store)
    well = redis_ms is not None and database_ms is not None and not unwritable
    content: dict[str, Any] = {
        "status": "healthy" if well else "degraded",
        "timestamp": utc_text(ctx.clock.now()),
        "redis": {
            "connected": redis_ms is not None,
            "host": host,
            "port": port,
            "tls": ctx.settings.redis_url.startswith("rediss:"),
            "latency_ms": redis_ms,
            "problems": problems,
        },
        "database": {
            "connected": database_ms is not None,
            "kind": ctx.store.url.get_backend_name(),
            "latency_ms": database_ms,
            "problems": unwritable,
        },
        "version": version("fleetmark"),
    }
    return JSONResponse(content, status_code=200 if well else 503, headers={} if well else {"Retry-After": str(RETRY_AFTER_S)})


def _redis(registry: Registry) -> tuple[float | None, list[str]]:
    """Return the latency of Redis (None if it takes no writes), and what is wrong with it."""
    try:
        found = registry.troubles()
    except Unavailable:  # a second try would only take longer
        return None, []
    return _latency(registry.ping_ms), [f"Redis {trouble.words}: {trouble.mend}" for trouble in found]


def _database(store: Store) -> tuple[float | None, list[str]]:
    """Return the latency of the database (None if it does not answer), and why it takes no writes."""
    latency_ms = _latency(store.ping_ms)
    if latency_ms is None:
        return None, []
    try:
        trouble = store.write_trouble()
    except Unavailable:
        return None, []
    return latency_ms, [f"the database takes no writes: {trouble}"] if trouble else []


def _latency(ping_ms: Callable[[], float]) -> float | None:
    try:
        return round(ping_ms(), 3)
    except Unavailable:
        return None


@router.get("/health/workers", response_model=WorkersHealth)
def get_workers_health(ctx: Ctx) -> JSONResponse:
    """Say which workers are healthy. Workers that left or were removed are not counted."""
    workers = [worker_health(ctx.registry, worker) for worker in ctx.registry.all()]
    healthy = sum(worker["is_healthy"] for worker in workers)
    return JSONResponse({"total": len(workers), "healthy": healthy, "unhealthy": len(workers) - healthy, "workers": workers})


def worker_health(registry: Registry, worker: WorkerRecord) -> dict[str, Any]:
    """Return whether a worker is healthy: it sent a heartbeat within the timeout, and is neither faulty nor gone."""
    standing = worker.status not in (WorkerStatus.FAULTY, WorkerStatus.GONE)
    return {
        "worker_id": worker.id,
        "device_name": worker.registration.device_name,
        "status": worker.status.value,
        "is_healthy": standing and worker.silent_s <= registry.timeout_s,
        "last_heartbeat": text_of_epoch(worker.last_seen),
        "seconds_since_heartbeat": round(worker.silent_s, 3),
    }
