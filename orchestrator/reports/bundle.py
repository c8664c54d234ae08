"""What the reports are made from: a campaign and its jobs, as the store hands them over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from orchestrator.reports.rows import Row
from shared.jobs import CampaignStatus, JobStatus
from shared.protocol.messages import Result
from shared.workloads import Workload


@dataclass(frozen=True)
class JobRecord:
    """One job with all that is kept of it.

    Attributes:
        row: its CSV row; None while it has not ended.
        result: the message of the attempt that counted; None where no device answered.
        unreadable: why its stored workload cannot be read, or empty; `workload` then names the model and nothing else.
    """

    job_id: str
    status: JobStatus
    compute_unit: str
    workload: Workload
    attempt: int
    capability: str | None = None
    worker_id: str | None = None
    error: str = ""
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    row: Row | None = None
    result: Result | None = None
    unreadable: str = ""


@dataclass(frozen=True)
class DeviceEntry:
    """A device that results of a campaign came from.

    Attributes:
        label: its name, told apart from another device of the same name.
        hardware: what its worker said of it when it last registered; None when that is not known any more.
    """

    label: str
    hardware: dict[str, Any] | None = None


@dataclass(frozen=True)
class CampaignBundle:
    """A campaign that has ended.

    Attributes:
        recipe: what was submitted, as a mapping that can be submitted again.
        ended_at: also the time stamp in the name of the CSV, so that writing twice writes the same names.
        jobs: in order of their numbers; gone through once, so it may be a cursor over 100 000 of them.
        recipe_hash: SHA-256 of the recipe as it was accepted, as JSON with sorted keys.
        devices: what the results came from, by the worker's id.
        varied: paths into a job at which the recipe's jobs differ, such as `options.threads`.
        user: the name of the token that the campaign was submitted with; empty where none was needed.
        versions: of the orchestrator's own software, by name.
        git_commit: of the checkout that the orchestrator runs from; empty when it runs from none.
    """

    campaign_id: str
    name: str
    status: CampaignStatus
    created_at: datetime
    ended_at: datetime
    recipe: dict[str, Any]
    jobs: Iterable[JobRecord]
    recipe_hash: str = ""
    devices: Mapping[str, DeviceEntry] = field(default_factory=dict)
    varied: tuple[str, ...] = ()
    notes: str = ""
    user: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    git_commit: str = ""

    def device_labels(self) -> dict[str, str]:
        """Return what each device is called, by its worker's id."""
        return {worker_id: device.label for worker_id, device in self.devices.items()}
