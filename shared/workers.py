"""Defines the states of workers, the allowed transitions, and the data with which a worker registers its device."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, Strict

from shared.capabilities import known_names, names_schema
from shared.names import OneLine


class WorkerStatus(StrEnum):
    ACTIVE = "active"
    BUSY = "busy"
    CLEANUP = "cleanup"
    FAULTY = "faulty"
    GONE = "gone"


# The stage of a job whose worker waits until another worker on the same host has measured. The time limit of the job has not started yet.
WAITING_FOR_HOST = "waiting for another measurement on this host"

TRANSITIONS: dict[WorkerStatus, frozenset[WorkerStatus]] = {
    WorkerStatus.ACTIVE: frozenset({WorkerStatus.BUSY, WorkerStatus.FAULTY, WorkerStatus.GONE}),
    WorkerStatus.BUSY: frozenset({WorkerStatus.CLEANUP, WorkerStatus.FAULTY, WorkerStatus.GONE}),
    WorkerStatus.CLEANUP: frozenset({WorkerStatus.ACTIVE, WorkerStatus.FAULTY, WorkerStatus.GONE}),
    WorkerStatus.FAULTY: frozenset({WorkerStatus.ACTIVE, WorkerStatus.GONE}),
    WorkerStatus.GONE: frozenset(),
}


def may_become(seen: WorkerStatus, wanted: WorkerStatus) -> bool:
    """Return whether a worker may change from `seen` to `wanted`. Keeping the same state is always allowed."""
    return wanted is seen or wanted in TRANSITIONS[seen]


def following(seen: WorkerStatus) -> list[WorkerStatus]:
    """Return the states that a worker may set next, sorted.

    `gone` is not among them. A worker gets this state when it deregisters or is removed.
    """
    return sorted(TRANSITIONS[seen] - {WorkerStatus.GONE})


YEAR_9999 = 253_402_300_799


class DeviceInfo(BaseModel):
    """Describes a device in its own words. The five named keys are those of the REST API. Other keys are kept unchanged."""

    model_config = ConfigDict(extra="allow")

    Soc: str = ""
    Ram: Annotated[float, Strict()] | str | None = Field(default=None, description="memory in GB (2^30 bytes)")
    DeviceOs: str = ""
    DeviceOsVersion: str = ""
    UDID: str = Field(default="", max_length=256, description="stable identity of the device; the same UDID is the same worker")


class Registration(BaseModel):
    """Is the body of `POST /register`."""

    device_name: OneLine = Field(min_length=1, max_length=200)
    ip_address: OneLine = Field(default="", max_length=64)
    capabilities: list[Annotated[str, Field(json_schema_extra=names_schema(known_names()))]] = Field(min_length=1, max_length=64)
    device_info: DeviceInfo = Field(default_factory=DeviceInfo)
    labels: dict[str, str] = Field(default_factory=dict, max_length=64)
    incarnation: str = Field(default="", max_length=64, description="one id a process start; empty for a device driven by REST alone")
    previous_incarnation: str = Field(
        default="", max_length=64, description="the process start before this one, when the device has proof that it is dead"
    )
    agent_type: OneLine = Field(default="white_box", max_length=64)
    version: OneLine = Field(default="", max_length=64)
    max_block: int = Field(
        default=1,
        ge=1,
        le=1_000,
        description="how many jobs one message may hold for this worker, which then measures them in turns; 1 if it cannot",
    )
    clock: float | None = Field(
        default=None,
        ge=0,
        le=YEAR_9999,
        strict=True,
        allow_inf_nan=False,
        description="the device's clock when it sent this, seconds since 1970",
    )
    hardware: dict[str, Any] = Field(default_factory=dict, description="memory_mb, gpu_memory_mb and whatever else placement reads")
