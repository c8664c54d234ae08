"""A worker as the registry knows it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from orchestrator.domain.placement import KnownWorker
from shared.workers import Registration, WorkerStatus


@dataclass(frozen=True)
class Quarantine:
    """A flapping device is given no work, until then (seconds since 1970)."""

    until: float
    reason: str


@dataclass(frozen=True)
class WorkerRecord:
    """A worker as it was when it was read. Times are Redis' own, seconds since 1970."""

    id: str
    registration: Registration
    status: WorkerStatus
    incarnation: str
    registered_at: float
    last_seen: float
    silent_s: float
    current_job: str
    held: tuple[tuple[str, int], ...]
    stage: str
    progress: float | None
    metrics: dict[str, Any]
    beats: int  # since it was entered first
    quarantine: Quarantine | None

    def known(self) -> KnownWorker:
        hardware = self.registration.hardware
        return KnownWorker(
            id=self.id,
            device_name=self.registration.device_name,
            capabilities=tuple(self.registration.capabilities),
            labels=self.registration.labels,
            memory_mb=_number(hardware.get("memory_mb")),
            gpu_memory_mb=_number(hardware.get("gpu_memory_mb")),
        )


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def record_of(worker_id: str, registration: str, state: dict[str, str], now: float) -> WorkerRecord:
    last_seen = float(state.get("last_seen", "0")) / 1000
    until = float(state.get("quarantined_until", "0")) / 1000
    return WorkerRecord(
        id=worker_id,
        registration=Registration.model_validate_json(registration),
        status=WorkerStatus(state.get("status", WorkerStatus.ACTIVE)),
        incarnation=state.get("incarnation", ""),
        registered_at=float(state.get("registered_at", "0")) / 1000,
        last_seen=last_seen,
        silent_s=max(0.0, now - last_seen),
        current_job=state.get("current_job", ""),
        held=tuple((str(job_id), int(attempt)) for job_id, attempt in json.loads(state.get("held") or "[]")),
        stage=state.get("stage", ""),
        progress=float(state["progress"]) if state.get("progress") else None,
        metrics=json.loads(state["metrics"]) if state.get("metrics") else {},
        beats=int(state.get("beats", "0")),
        quarantine=Quarantine(until, state.get("quarantine_reason", "")) if until > now else None,
    )
