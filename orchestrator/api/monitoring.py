"""What the watch has found and done."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import JSONResponse

from orchestrator.api.context import Ctx
from orchestrator.api.times import text_of_epoch

router = APIRouter(prefix="/api", tags=["monitoring"])


class HealthMonitor(BaseModel):
    sweeps: int
    faults_found: int
    jobs_requeued: int
    jobs_sent_again: int
    last_sweep: str | None
    heartbeat_timeout_s: float
    sweep_s: float


class TimeoutHandler(BaseModel):
    sweeps: int
    jobs_timed_out: int
    last_sweep: str | None
    deadline_grace_s: float


class MonitoringStats(BaseModel):
    health_monitor: HealthMonitor
    timeout_handler: TimeoutHandler


@router.get("/monitoring/stats", response_model=MonitoringStats)
def get_stats(ctx: Ctx) -> JSONResponse:
    """Counters over all watches, since Redis was last reset."""
    seen = ctx.registry.monitor.counters()
    last = text_of_epoch(seen["last_sweep"]) if "last_sweep" in seen else None
    counts = {name: int(value) for name, value in seen.items() if name != "last_sweep"}
    health = {
        **{name: counts.get(name, 0) for name in ("sweeps", "faults_found", "jobs_requeued", "jobs_sent_again")},
        "last_sweep": last,
        "heartbeat_timeout_s": ctx.settings.heartbeat_timeout_s,
        "sweep_s": ctx.settings.sweep_s,
    }
    timeouts = {
        **{name: counts.get(name, 0) for name in ("sweeps", "jobs_timed_out")},
        "last_sweep": last,
        "deadline_grace_s": ctx.settings.deadline_grace_s,
    }
    return JSONResponse({"health_monitor": health, "timeout_handler": timeouts})
