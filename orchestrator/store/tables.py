"""Defines the tables. The migrations make the same tables; a test proves it.

The counters on `campaigns` change together with each job's status. They are never counted from the rows.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlmodel import Field, SQLModel

from orchestrator.store.types import Json, UtcDateTime
from shared.jobs import CampaignStatus, JobStatus
from shared.tokens import Role

SQLModel.metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


def _one_of(column: str, values: list[str]) -> str:
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


class Campaign(SQLModel, table=True):
    """Holds one submission."""

    __tablename__: ClassVar[str] = "campaigns"
    __table_args__ = (
        CheckConstraint(_one_of("status", list(CampaignStatus)), name="status"),
        CheckConstraint("pending_jobs + running_jobs + complete_jobs + failed_jobs + cancelled_jobs = total_jobs", name="counters"),
        CheckConstraint("pending_jobs >= 0 AND running_jobs >= 0", name="no_negative_counters"),
        UniqueConstraint("idempotency_key"),
        Index("ix_campaigns_running", "id", postgresql_where=text("status = 'running'"), sqlite_where=text("status = 'running'")),
        Index("ix_campaigns_status_id", "status", "id"),
        Index(
            "ix_campaigns_unreported",
            "id",
            postgresql_where=text("status <> 'running' AND reported_at IS NULL"),
            sqlite_where=text("status <> 'running' AND reported_at IS NULL"),
        ),
        Index("ix_campaigns_figures_due", "id", postgresql_where=text("figures_due"), sqlite_where=text("figures_due")),
    )

    id: str = Field(sa_column=Column(String(40), primary_key=True))
    name: str = Field(sa_column=Column(String(200), nullable=False))
    notes: str = Field(default="", sa_column=Column(Text, nullable=False))
    labels: dict[str, str] = Field(default_factory=dict, sa_column=Column(Json, nullable=False))
    model_url: str = Field(sa_column=Column(Text, nullable=False))
    status: str = Field(default=CampaignStatus.RUNNING, sa_column=Column(String(16), nullable=False))
    recipe: dict[str, Any] = Field(sa_column=Column(Json, nullable=False))
    recipe_hash: str = Field(sa_column=Column(String(64), nullable=False))
    idempotency_key: str | None = Field(default=None, sa_column=Column(String(255), nullable=True))
    request_hash: str = Field(sa_column=Column(String(64), nullable=False))
    # the name of the token that submitted it
    submitted_by: str = Field(default="", sa_column=Column(String(200), nullable=False, server_default=""))
    warnings: list[str] = Field(default_factory=list, sa_column=Column(Json, nullable=False))
    created_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    queue_deadline_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    ended_at: datetime | None = Field(default=None, sa_column=Column(UtcDateTime))
    reported_at: datetime | None = Field(default=None, sa_column=Column(UtcDateTime))
    # True until the results that an earlier version recorded have rows in `figures`, too (see `operations.figures`).
    figures_due: bool = Field(default=False, sa_column=Column(Boolean, nullable=False, server_default=false()))
    total_jobs: int
    pending_jobs: int
    running_jobs: int = 0
    complete_jobs: int = 0
    failed_jobs: int = 0
    cancelled_jobs: int = 0


class Lane(SQLModel, table=True):
    """Groups the jobs of a campaign that have the same compute unit, priority, device and requirements.

    If `one_device` is true, one device takes all jobs of the lane. Dispatch chooses it before it sends the first of them, and writes its id
    into `device` and its name into `device_name`. A device that was chosen is never changed.
    """

    __tablename__: ClassVar[str] = "lanes"
    __table_args__ = (
        Index("ix_lanes_campaign_id", "campaign_id"),
        # This index has the lanes whose device is still to be chosen.
        Index(
            "ix_lanes_unchosen",
            "campaign_id",
            postgresql_where=text("one_device AND device IS NULL"),
            sqlite_where=text("one_device AND device IS NULL"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    campaign_id: str = Field(sa_column=Column(String(40), ForeignKey("campaigns.id", ondelete="CASCADE"), nullable=False))
    priority: int
    compute_unit: str = Field(sa_column=Column(String(64), nullable=False))
    device: str | None = Field(default=None, sa_column=Column(String(200)))
    one_device: bool = Field(default=False, sa_column=Column(Boolean, nullable=False, server_default=false()))
    device_name: str | None = Field(default=None, sa_column=Column(String(200)))  # the name of the device that dispatch chose
    requires: dict[str, Any] = Field(default_factory=dict, sa_column=Column(Json, nullable=False))
    # What the work itself needs of a device; null if every worker with the capability can do it, and in lanes of earlier versions.
    needs: dict[str, Any] | None = Field(default=None, sa_column=Column(Json))
    waiting_for: str = Field(default="", sa_column=Column(Text, nullable=False))
    # This is when a busy worker that could take the lane's jobs was last seen, to within a twentieth of the queue timeout. Time in which no
    # watch looked is added.
    served_at: datetime | None = Field(default=None, sa_column=Column(UtcDateTime))


class Job(SQLModel, table=True):
    """Holds one job of a campaign."""

    __tablename__: ClassVar[str] = "jobs"
    __table_args__ = (
        CheckConstraint(_one_of("status", list(JobStatus)), name="status"),
        CheckConstraint("attempt >= 1", name="attempt"),
        UniqueConstraint("campaign_id", "number"),
        # This index has the jobs that dispatch can take next.
        Index(
            "ix_jobs_frontier",
            "lane_id",
            "position",
            postgresql_where=text("status = 'pending' AND dispatched_at IS NULL"),
            sqlite_where=text("status = 'pending' AND dispatched_at IS NULL"),
        ),
        # This index has the jobs whose message is in Redis and that are not claimed yet. The windows limit their number.
        Index(
            "ix_jobs_dispatched",
            "queue",
            "dispatched_at",
            postgresql_where=text("status = 'pending' AND dispatched_at IS NOT NULL"),
            sqlite_where=text("status = 'pending' AND dispatched_at IS NOT NULL"),
        ),
        Index("ix_jobs_running", "worker_id", postgresql_where=text("status = 'running'"), sqlite_where=text("status = 'running'")),
        # This index is for the foreign key. Without it, the jobs of all campaigns would be read for each lane that is deleted.
        Index("ix_jobs_lane_id", "lane_id"),
        Index("ix_jobs_status_campaign_id_number", "status", "campaign_id", "number"),
        Index(
            "ix_jobs_worker_id_campaign_id_number",
            "worker_id",
            "campaign_id",
            "number",
            postgresql_where=text("worker_id IS NOT NULL"),
            sqlite_where=text("worker_id IS NOT NULL"),
        ),
    )

    id: str = Field(sa_column=Column(String(64), primary_key=True))
    campaign_id: str = Field(sa_column=Column(String(40), ForeignKey("campaigns.id", ondelete="CASCADE"), nullable=False))
    number: int
    position: int | None = None  # the place in the order of sending; null for jobs that ended before there was such an order
    lane_id: int = Field(foreign_key="lanes.id", ondelete="CASCADE")
    compute_unit: str = Field(sa_column=Column(String(64), nullable=False))
    priority: int
    status: str = Field(default=JobStatus.PENDING, sa_column=Column(String(16), nullable=False))
    attempt: int = 1
    max_attempts: int = 3
    losses: int = 0  # the number of attempts that were lost with their worker
    deaths: int = Field(default=0, sa_column_kwargs={"server_default": "0"})  # the number of proven deaths of the measured process
    workload: dict[str, Any] = Field(sa_column=Column(Json, nullable=False))
    model_name: str = Field(sa_column=Column(String(255), nullable=False))
    retry_of: str | None = Field(default=None, sa_column=Column(String(64)))
    created_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    not_before: datetime | None = Field(default=None, sa_column=Column(UtcDateTime))
    dispatched_at: datetime | None = Field(default=None, sa_column=Column(UtcDateTime))
    queue: str | None = Field(default=None, sa_column=Column(String(128)))
    capability: str | None = Field(default=None, sa_column=Column(String(64)))
    block: str | None = Field(default=None, sa_column=Column(String(80)))  # the id of its message, if other jobs are in the same message
    block_timeout_s: float | None = Field(default=None, sa_column=Column(Double))  # the timeouts of all jobs in that message together
    worker_id: str | None = Field(default=None, sa_column=Column(String(80)))
    incarnation: str | None = Field(default=None, sa_column=Column(String(64)))
    started_at: datetime | None = Field(default=None, sa_column=Column(UtcDateTime))
    deadline_at: datetime | None = Field(default=None, sa_column=Column(UtcDateTime))
    ended_at: datetime | None = Field(default=None, sa_column=Column(UtcDateTime))
    error: str | None = Field(default=None, sa_column=Column(Text))
    error_kind: str | None = Field(default=None, sa_column=Column(String(64)))


class ResultRow(SQLModel, table=True):
    """Holds the one recorded result of a job: its CSV row, and the whole message of the worker."""

    __tablename__: ClassVar[str] = "results"
    __table_args__ = (UniqueConstraint("campaign_id", "number"),)

    job_id: str = Field(sa_column=Column(String(64), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True))
    campaign_id: str = Field(sa_column=Column(String(40), ForeignKey("campaigns.id", ondelete="CASCADE"), nullable=False))
    number: int
    attempt: int
    worker_id: str = Field(sa_column=Column(String(80), nullable=False))
    row: dict[str, Any] = Field(sa_column=Column(Json, nullable=False))
    line: str = Field(sa_column=Column(Text, nullable=False))  # `row` as a line of CSV, so that 100 000 of them stream in seconds
    result: dict[str, Any] = Field(sa_column=Column(Json, nullable=False))
    recorded_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))


class FigureRow(SQLModel, table=True):
    """Holds one figure of a complete job, so that trends are queries, and jobs can be sorted by any figure.

    A figure that is null in the result has no row. `created_at` is when the result was recorded. There is no foreign key, because its check
    takes half of the time of an insert. Whoever inserts rows holds a lock on the jobs, and whoever deletes jobs deletes their figures.
    """

    __tablename__: ClassVar[str] = "figures"
    __table_args__ = (
        Index("ix_figures_name_created_at", "name", "created_at", "campaign_id", "number"),  # this index serves a trend
        Index("ix_figures_name_value", "name", "value", "campaign_id", "number"),  # this index sorts all jobs by a figure
        # this index sorts the jobs of a campaign by a figure
        Index("ix_figures_campaign_id_name_value", "campaign_id", "name", "value", "number"),
    )

    campaign_id: str = Field(sa_column=Column(String(40), primary_key=True))
    number: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    name: str = Field(sa_column=Column(String(100), primary_key=True))
    job_id: str = Field(sa_column=Column(String(64), nullable=False))
    value: float = Field(sa_column=Column(Float, nullable=False))
    low: float | None = Field(default=None, sa_column=Column(Float))
    high: float | None = Field(default=None, sa_column=Column(Float))
    unit: str = Field(sa_column=Column(String(40), nullable=False))
    better: str = Field(sa_column=Column(String(16), nullable=False))
    created_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))


class Event(SQLModel, table=True):
    """Holds one entry in the history of a job. Unwanted messages are entries too."""

    __tablename__: ClassVar[str] = "events"
    __table_args__ = (Index("ix_events_job_id_id", "job_id", "id"),)

    id: int | None = Field(default=None, primary_key=True)
    at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    job_id: str = Field(sa_column=Column(String(64), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False))
    attempt: int
    kind: str = Field(sa_column=Column(String(32), nullable=False))
    worker_id: str | None = Field(default=None, sa_column=Column(String(80)))
    detail: str = Field(default="", sa_column=Column(Text, nullable=False))


class ModelFile(SQLModel, table=True):
    """Holds an uploaded model. Its key is the hash of the content."""

    __tablename__: ClassVar[str] = "models"

    sha256: str = Field(sa_column=Column(String(64), primary_key=True))
    name: str = Field(sa_column=Column(String(255), nullable=False))
    size: int = Field(sa_type=BigInteger)
    created_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))


class Token(SQLModel, table=True):
    """Holds a bearer token: its name, its role, and the hash of its secret (see `operations.tokens`).

    Rows are never deleted, because a log may name a token.
    """

    __tablename__: ClassVar[str] = "tokens"
    __table_args__ = (
        CheckConstraint(_one_of("role", list(Role)), name="role"),
        UniqueConstraint("secret_hash"),
        Index("ix_tokens_unrevoked", "id", postgresql_where=text("revoked_at IS NULL"), sqlite_where=text("revoked_at IS NULL")),
    )

    id: str = Field(sa_column=Column(String(40), primary_key=True))
    name: str = Field(sa_column=Column(String(200), nullable=False))
    role: str = Field(sa_column=Column(String(16), nullable=False))
    secret_hash: str = Field(sa_column=Column(String(64), nullable=False))
    created_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    expires_at: datetime | None = Field(default=None, sa_column=Column(UtcDateTime))
    revoked_at: datetime | None = Field(default=None, sa_column=Column(UtcDateTime))
    last_used_at: datetime | None = Field(default=None, sa_column=Column(UtcDateTime))  # updated at most once an hour


class WorkerKey(SQLModel, table=True):
    """Holds the key that a worker with its own broker login signs its reports with (see `shared.protocol.signatures`)."""

    __tablename__: ClassVar[str] = "worker_keys"

    worker_id: str = Field(sa_column=Column(String(80), primary_key=True))
    secret: str = Field(sa_column=Column(String(64), nullable=False))  # the secret itself, as it is needed to check a signature
    ended: bool = False  # True once the worker was removed; it gets a new key when it enrols again
    token_id: str | None = Field(default=None, sa_column=Column(String(40)))  # the token, with the role `worker`, that the key was given to
