"""Builds the reports that a worker would send."""

from __future__ import annotations

import base64
import hashlib
from typing import Literal

from shared.measurements import RawRepeat
from shared.protocol.messages import Artifact, Device, HandBack, Result, Started
from shared.stats import summarise

WORKER = "worker-a"
INCARNATION = "first-start"


def started(job_id: str, attempt: int = 1, worker_id: str = WORKER, incarnation: str = INCARNATION) -> Started:
    return Started(job_id=job_id, attempt=attempt, worker_id=worker_id, incarnation=incarnation, at=0.0)


def handed_back(job_id: str, attempt: int = 1) -> HandBack:
    return HandBack(job_id=job_id, attempt=attempt, worker_id=WORKER, incarnation=INCARNATION, reason="the worker was stopped")


def artifact(content: bytes) -> Artifact:
    return Artifact(sha256=hashlib.sha256(content).hexdigest(), size=len(content), inline=base64.b64encode(content).decode())


def result(
    job_id: str,
    attempt: int = 1,
    status: Literal["complete", "failed", "cancelled"] = "complete",
    error: str = "",
    error_kind: str = "",
    worker_id: str = WORKER,
) -> Result:
    raw = RawRepeat(index=0, load_ns=5_000_000, warmup_ns=[2_000_000], inference_ns=[1_000_000, 1_100_000, 1_200_000])
    log = f'{{"attempt": {attempt}, "message": "attempt {attempt}"}}\n'.encode()
    return Result(
        job_id=job_id,
        campaign_id=job_id.rpartition("-job-")[0],
        attempt=attempt,
        worker_id=worker_id,
        incarnation=INCARNATION,
        capability="cpu.onnx",
        status=status,
        error=error,
        error_kind=error_kind,
        device=Device(name="device", soc="chip", ram_gb=8.0, os="Linux"),
        model_name="squeezenet.onnx",
        model_size=1_000,
        summary=summarise([raw, raw]) if status == "complete" else None,
        artifacts={"samples.npz": artifact(b"raw samples"), "log.jsonl": artifact(log)},
        started_at=0.0,
        ended_at=1.0,
    )
