"""Defines the messages. An assignment goes to the worker on a capability queue. The others come back on the results queue."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, TypeAdapter, model_serializer

from shared.facts import Count, Facts
from shared.figures import Outcome
from shared.ids import CAMPAIGN_ID, JOB_ID, WORKER_ID
from shared.measurements import Noise, Summary
from shared.workloads import Workload

TASK_NAME = "fleetmark.run_job"

JobId = Annotated[str, Field(pattern=f"^{JOB_ID.pattern}$")]
CampaignId = Annotated[str, Field(pattern=f"^{CAMPAIGN_ID.pattern}$")]
WorkerId = Annotated[str, Field(pattern=f"^{WORKER_ID.pattern}$")]


Attempt = Annotated[int, Field(ge=1, le=2**31 - 1)]  # the range of its database column


class Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal[1] = 1


class Assignment(Message):
    """Tells a worker to run one attempt of one job. It holds everything that the worker needs."""

    job_id: JobId
    campaign_id: CampaignId
    attempt: Attempt
    capability: str = Field(max_length=64)
    workload: Workload


class JobMessage(Message):
    """Is the base of all messages about a job. It names the attempt, and the worker process that sends the message."""

    job_id: JobId
    attempt: Attempt
    worker_id: WorkerId
    incarnation: str = Field(max_length=64)


class Started(JobMessage):
    """Says that the worker has claimed the job and starts it."""

    kind: Literal["started"] = "started"
    at: float = Field(description="worker's clock, seconds since 1970")


class HandBack(JobMessage):
    """Says that the worker returns the job without a result. The job gets a new attempt; this one does not count as lost."""

    kind: Literal["hand_back"] = "hand_back"
    reason: str = Field(max_length=2000)


class Artifact(BaseModel):
    """Describes a file that a job has made. A small file is inside the message. A large one was uploaded by HTTP before."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: Count
    inline: str | None = Field(default=None, description="base64 of the content; null when it was sent by HTTP")


class Device(BaseModel):
    """Describes the device within a result, which keeps it even if the device's registration changes or is deleted."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    name: str
    soc: str = ""
    ram_gb: float | None = None
    os: str = ""
    udid: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    price_per_hour: float | None = Field(
        default=None, ge=0, description="what an hour of it costs, in any one currency; null in results of earlier workers"
    )


class Result(JobMessage):
    """Says how an attempt ended. A failed attempt has an error. A complete inference has a summary, any other complete job an outcome.

    An attempt that failed or was cancelled has an outcome, too, if its kind of work could keep what was measured. It is `partial` then.
    """

    kind: Literal["result"] = "result"
    campaign_id: CampaignId
    capability: str = Field(max_length=64)
    status: Literal["complete", "failed", "cancelled"]
    error: str = Field(default="", max_length=20_000)
    error_kind: str = Field(default="", max_length=64)
    device: Device
    model_name: str
    model_size: Count | None = None
    model_sha256: str | None = None
    summary: Summary | None = None
    outcome: Outcome | None = Field(default=None, description="what was measured, if it is no inference")
    noise: Noise | None = None
    runtime: Facts = Field(default_factory=dict, description="as the runtime reports it: version, providers, threads, graph level")
    software: dict[str, str] = Field(default_factory=dict)
    artifacts: dict[str, Artifact] = Field(default_factory=dict, description="`samples.npz`, `telemetry.npz` and `log.jsonl`")
    started_at: float = Field(description="worker's clock, seconds since 1970")
    ended_at: float
    timings_s: dict[str, float] = Field(default_factory=dict, description="fetch, wait_for_lock, measure, total")

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave `outcome` out of an inference's result, because orchestrators of earlier versions refuse unknown keys."""
        content: dict[str, Any] = handler(self)
        if content.get("outcome") is None:
            content.pop("outcome", None)
        return content


class AttemptLog(JobMessage):
    """Holds the log of an attempt without a result: it was handed back, or its process was killed and the next process found the log."""

    kind: Literal["log"] = "log"
    log: Artifact = Field(description="`log.jsonl`, inside the message")


Report = Started | HandBack | Result | AttemptLog
REPORT: TypeAdapter[Report] = TypeAdapter(Annotated[Report, Field(discriminator="kind")])

RECORDED = "recorded"
UNWANTED = "unwanted"


def answer_field(job_id: str, attempt: int) -> str:
    return f"{job_id}/{attempt}"
