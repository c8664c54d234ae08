"""Serves the counters of what the watch has found and done (`orchestrator.domain.findings`), in two groups."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field, create_model
from starlette.responses import JSONResponse

from orchestrator.api.context import Ctx
from orchestrator.api.times import text_of_epoch
from orchestrator.domain.findings import COUNTERS

router = APIRouter(prefix="/api", tags=["monitoring"])

OF_TIME = ("jobs_timed_out", "queue_timeouts", "deadlines_postponed")
OF_HEALTH = tuple(name for name in COUNTERS if name not in OF_TIME)


class Sweeps(BaseModel):
    sweeps: int = Field(description="the number of sweeps")
    last_sweep: str | None
    sweep_s: float
    leader: str | None = Field(description="the watch that leads, as host, process id and the id of its start")


def _counters(name: str, names: tuple[str, ...], **settings: Any) -> type[Sweeps]:
    counted: dict[str, Any] = {each: (int, Field(description=COUNTERS[each])) for each in names}
    made: type[Sweeps] = create_model(name, __base__=Sweeps, **counted, **settings)
    return made


HealthMonitor = _counters("HealthMonitor", OF_HEALTH, heartbeat_timeout_s=(float, ...))
TimeoutHandler = _counters("TimeoutHandler", OF_TIME, deadline_grace_s=(float, ...))


class MonitoringStats(BaseModel):
    health_monitor: HealthMonitor  # type: ignore[valid-type]  # the model is made from the counters
    timeout_handler: TimeoutHandler  # type: ignore[valid-type]  # the model is made from the counters


@router.get("/monitoring/stats", name="get_monitoring_stats", response_model=MonitoringStats)
def get_stats(ctx: Ctx) -> JSONResponse:
    """Show the counters of all watches since the last reset."""
    seen = ctx.registry.monitor.counters()
    sweeps = {
        "sweeps": int(seen.get("sweeps", 0)),
        "last_sweep": text_of_epoch(seen["last_sweep"]) if "last_sweep" in seen else None,
        "sweep_s": ctx.settings.watch_sweep_s,
        "leader": ctx.registry.monitor.leader(),
    }
    health = {name: int(seen.get(name, 0)) for name in OF_HEALTH} | {"heartbeat_timeout_s": ctx.settings.heartbeat_timeout_s}
    times = {name: int(seen.get(name, 0)) for name in OF_TIME} | {"deadline_grace_s": ctx.settings.deadline_grace_s}
    return JSONResponse({"health_monitor": sweeps | health, "timeout_handler": sweeps | times})
