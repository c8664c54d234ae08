"""Defines what the API takes and shows of workers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from shared.capabilities import known_names, names_schema
from shared.labels import WorkerLabels
from shared.strict import Strict
from shared.workers import DeviceInfo

SettableStatus = Literal["active", "busy", "cleanup", "faulty"]


class Registered(BaseModel):
    worker_id: str
    status: str = Field(examples=["registered"])
    action: Literal["created", "reconnected"]
    broker_url: str
    clock_offset_s: float | None = Field(
        description="how far the device's clock is ahead of the orchestrator's, if it sent `clock`; negative when it is behind"
    )
    report_key: str | None = Field(description="the key that its reports must be signed with, if workers have logins of their own")


class Quarantine(BaseModel):
    """Says why a flapping device gets no work, and until when."""

    reason: str
    until: str


class WorkerBody(BaseModel):
    worker_id: str
    device_name: str
    ip_address: str
    capabilities: list[str]
    status: str
    registered_at: str
    last_seen: str
    device_info: DeviceInfo
    current_job: str | None
    stage: str | None
    progress: float | None
    labels: dict[str, str]
    agent_type: str
    version: str
    metrics: dict[str, Any]
    quarantine: Quarantine | None
    clock_offset_s: float | None = Field(
        description="how far its clock was ahead of the orchestrator's when it registered; negative when it was behind, null if not known"
    )


class Workers(BaseModel):
    count: int
    workers: list[WorkerBody]


class StatusChange(Strict):
    status: SettableStatus


class WorkerChange(Strict):
    """Says what is changed of a worker. What is left out stays."""

    labels: WorkerLabels | None = Field(
        default=None,
        description="all labels, in place of those before, also when the worker registers again; null gives it its own labels back",
    )
    capabilities: list[Annotated[str, Field(json_schema_extra=names_schema(known_names()))]] = Field(
        default=[], min_length=1, max_length=64, description="only for a device that is driven by REST alone"
    )


class WorkerState(BaseModel):
    worker_id: str
    status: str


class Beat(BaseModel):
    """Describes a heartbeat of a device that uses REST. Every field may be left out."""

    status: SettableStatus | None = None
    current_job: str | None = Field(default=None, max_length=64)
    metrics: dict[str, Any] | None = None


class BeatAnswer(WorkerState):
    action: str = Field(examples=["updated"])


class ResetAnswer(WorkerState):
    message: str
