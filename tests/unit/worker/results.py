"""Makes assignments and results for the tests of the worker."""

from __future__ import annotations

from typing import Any, Literal

from shared.inputs import ModelRef
from shared.protocol.messages import Artifact, Assignment, Device, Result
from shared.workloads import inference_workload

CAMPAIGN = "campaign-0123456789abcdefgh"
WORKER = "worker-test"


def assignment(number: int = 1, attempt: int = 1, **workload: Any) -> Assignment:
    model = ModelRef(source="file:///models/tiny.onnx", name="tiny.onnx")
    return Assignment(
        job_id=f"{CAMPAIGN}-job-{number}",
        campaign_id=CAMPAIGN,
        attempt=attempt,
        capability="cpu.onnx",
        workload=inference_workload(model=model, **workload),
    )


def result(
    number: int = 1,
    attempt: int = 1,
    status: Literal["complete", "failed", "cancelled"] = "failed",
    artifacts: dict[str, Artifact] | None = None,
) -> Result:
    return Result(
        job_id=f"{CAMPAIGN}-job-{number}",
        attempt=attempt,
        worker_id=WORKER,
        incarnation="first",
        campaign_id=CAMPAIGN,
        capability="cpu.onnx",
        status=status,
        error="" if status == "complete" else "it broke",
        device=Device(name="lab-pi"),
        model_name="tiny.onnx",
        artifacts=artifacts or {},
        started_at=1.0,
        ended_at=2.0,
    )
