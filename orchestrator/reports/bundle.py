"""Defines the input of the reports: a campaign and its jobs, read from the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from orchestrator.reports.columns import Row
from shared.jobs import CampaignStatus, JobStatus
from shared.kinds.inference import MODEL
from shared.kinds.registry import DEFAULT_KIND
from shared.protocol.messages import Result
from shared.repetition import StopRule
from shared.workloads import Workload


@dataclass(frozen=True)
class EndedJob:
    """Holds what the orchestrator knows about a job that has ended, with or without a result.

    Attributes:
        compute_unit: the requested capability or label.
        recorded_at: when the end was recorded, by the orchestrator's clock.
        model_sha256: the hash according to the recipe or the upload. The hash that the device measured is in its result.
        parameters: the values that distinguish this job from others of its campaign, by name.
        stop: the stop rule of its repeats, if it has one.
        kind: its kind of work. This version may not know it, if a newer one accepted the job.
    """

    job_id: str
    campaign_id: str
    status: JobStatus
    compute_unit: str
    model_name: str
    attempt: int
    recorded_at: datetime
    model_size: int | None = None
    worker_id: str | None = None
    error: str = ""
    model_sha256: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    stop: StopRule | None = None
    kind: str = DEFAULT_KIND


@dataclass(frozen=True)
class JobRecord:
    """Holds one job with all its stored data.

    Attributes:
        row: its CSV row; None while it has not ended.
        result: the message of the attempt that counted; None if there is no result.
        retry_of: the id of the job that this one was made in place of; None if it was made by the recipe.
        kind: its kind of work. This version may not know it, if a newer one accepted the job.
        title: what lists call the job; empty if it is the name of its model.
        unreadable: why its stored workload cannot be read, or empty. If it is set, `workload` holds only the model's name.
    """

    job_id: str
    status: JobStatus
    compute_unit: str
    workload: Workload
    attempt: int
    capability: str | None = None
    worker_id: str | None = None
    error: str = ""
    retry_of: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    row: Row | None = None
    result: Result | None = None
    unreadable: str = ""
    kind: str = DEFAULT_KIND
    title: str = ""
    position: int | None = None  # the job's place in the order in which the jobs were sent

    @property
    def name(self) -> str:
        """Return what lists and reports call the job: the name of its model, or what its kind of work says."""
        return self.title or self.workload.title

    @property
    def content_sha256(self) -> str | None:
        """Return the hash of its model, if the orchestrator knows it before a worker fetches the model."""
        model = self.workload.inputs.get(MODEL)
        return model.content_sha256 if model is not None else None


@dataclass(frozen=True)
class DeviceEntry:
    """Describes a device that results of a campaign came from.

    Attributes:
        label: its name, extended if another device has the same name.
        hardware: the hardware from its worker's last registration; None if that is no longer known.
    """

    label: str
    hardware: dict[str, Any] | None = None


@dataclass(frozen=True)
class CampaignBundle:
    """Holds a campaign that has ended.

    Attributes:
        recipe: the submission, as a mapping that can be submitted again.
        ended_at: the end of the campaign. The name of the CSV holds it, so that writing twice uses the same name.
        jobs: the jobs in order of their numbers. They are read once, so this may be a cursor over 100 000 of them.
        recipe_hash: the SHA-256 of the accepted recipe, as JSON with sorted keys.
        devices: the devices that the results came from, by worker id.
        varied: the paths into a job at which the recipe's jobs differ, such as `options.threads`.
        user: the name of the token that the campaign was submitted with; empty if none was needed.
        versions: the versions of the orchestrator's software, by name.
        git_commit: the commit of the checkout that the orchestrator runs from; empty if there is none.
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
        """Return the label of each device, by its worker's id."""
        return {worker_id: device.label for worker_id, device in self.devices.items()}
