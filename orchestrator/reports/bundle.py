"""What the reports are made from: a campaign and its jobs, as the store hands them over."""

from __future__ import annotations

from collections.abc import Iterable
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
        hardware: what the worker said of its hardware when it registered, if it is still known.
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
    hardware: dict[str, Any] = field(default_factory=dict)
    unreadable: str = ""


@dataclass(frozen=True)
class CampaignBundle:
    """A campaign that has ended.

    Attributes:
        recipe: what was submitted, as a mapping that can be submitted again.
        ended_at: also the time stamp in the name of the CSV, so that writing twice writes the same names.
        jobs: in order of their numbers; gone through once, so it may be a cursor over 100 000 of them.
        versions: of the orchestrator's own software, by name.
    """

    campaign_id: str
    name: str
    status: CampaignStatus
    created_at: datetime
    ended_at: datetime
    recipe: dict[str, Any]
    jobs: Iterable[JobRecord]
    notes: str = ""
    user: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    git_commit: str = ""
