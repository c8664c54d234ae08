"""The words of a worker: its states, the steps between them, and what it says of its device when it registers."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, Strict

from shared.capabilities import known_names
from shared.names import OneLine


class WorkerStatus(StrEnum):
    ACTIVE = "active"
    BUSY = "busy"
    CLEANUP = "cleanup"
    FAULTY = "faulty"
    GONE = "gone"


# The stage of a job whose worker waits until another one on its host has measured: its own time has not begun.
WAITING_FOR_HOST = "waiting for another measurement on this host"

TRANSITIONS: dict[WorkerStatus, frozenset[WorkerStatus]] = {
    WorkerStatus.ACTIVE: frozenset({WorkerStatus.BUSY, WorkerStatus.FAULTY, WorkerStatus.GONE}),
    WorkerStatus.BUSY: frozenset({WorkerStatus.CLEANUP, WorkerStatus.FAULTY, WorkerStatus.GONE}),
    WorkerStatus.CLEANUP: frozenset({WorkerStatus.ACTIVE, WorkerStatus.FAULTY, WorkerStatus.GONE}),
    WorkerStatus.FAULTY: frozenset({WorkerStatus.ACTIVE, WorkerStatus.GONE}),
    WorkerStatus.GONE: frozenset(),
}


def may_become(seen: WorkerStatus, wanted: WorkerStatus) -> bool:
    """Whether a worker may step from `seen` to `wanted`; asking for the state it already has is always allowed."""
    return wanted is seen or wanted in TRANSITIONS[seen]


def following(seen: WorkerStatus) -> list[WorkerStatus]:
    """The states that may be asked for next, sorted; a worker leaves by its own goodbye or by being removed, not by asking."""
    return sorted(TRANSITIONS[seen] - {WorkerStatus.GONE})


CLOCK_TOLERANCE_S = 5.0  # clocks that are kept by NTP differ by far less, and a registration may take a second or two to arrive
YEAR_9999 = 253_402_300_799


def clock_warning(offset_s: float | None) -> str:
    """Return what is wrong with a device's clock and what to do, or an empty text.

    Args:
        offset_s: how far it is ahead of the orchestrator's; negative when it is behind, None when it is not known.
    """
    if offset_s is None or abs(offset_s) <= CLOCK_TOLERANCE_S:
        return ""
    where = "ahead of" if offset_s > 0 else "behind"
    return (
        f"the clock of this device is {abs(offset_s):.0f} s {where} the orchestrator's, and times in its logs and results are wrong "
        "by that: have both machines set their clocks by NTP"
    )


class DeviceInfo(BaseModel):
    """What a device says of itself. The five named keys are those of the REST API; any other key is kept as it is."""

    model_config = ConfigDict(extra="allow")

    Soc: str = ""
    Ram: Annotated[float, Strict()] | str | None = Field(default=None, description="memory in GB (2^30 bytes)")
    DeviceOs: str = ""
    DeviceOsVersion: str = ""
    UDID: str = Field(default="", max_length=256, description="stable identity of the device; the same UDID is the same worker")


class Registration(BaseModel):
    """The body of `POST /register`."""

    device_name: OneLine = Field(min_length=1, max_length=200)
    ip_address: OneLine = Field(default="", max_length=64)
    capabilities: list[Annotated[str, Field(json_schema_extra={"enum": known_names()})]] = Field(min_length=1, max_length=64)
    device_info: DeviceInfo = Field(default_factory=DeviceInfo)
    labels: dict[str, str] = Field(default_factory=dict, max_length=64)
    incarnation: str = Field(default="", max_length=64, description="one id a process start; empty for a device driven by REST alone")
    previous_incarnation: str = Field(
        default="", max_length=64, description="the process start before this one, when the device has proof that it is dead"
    )
    agent_type: OneLine = Field(default="white_box", max_length=64)
    version: OneLine = Field(default="", max_length=64)
    clock: float | None = Field(
        default=None, ge=0, le=YEAR_9999, allow_inf_nan=False, description="the device's clock when it sent this, seconds since 1970"
    )
    hardware: dict[str, Any] = Field(default_factory=dict, description="memory_mb, gpu_memory_mb and whatever else placement reads")
