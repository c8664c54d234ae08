"""Makes `run.json`: what is needed to run a campaign again, and what it ran on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from orchestrator.reports.bundle import CampaignBundle, DeviceEntry, JobRecord
from orchestrator.reports.columns import utc_text
from orchestrator.reports.parameters import job_parameters
from orchestrator.reports.runtimes import provider_of
from shared.kinds.inference import MODEL
from shared.protocol.messages import Result

RUN_FORMAT = 2
# 1: the first format.
# 2: `models` is a list of `name`, `source` and `sha256`, because two models may have the same source. `sha256` covers the model and its
#    weights. `attempt` is the attempt of the result, as in the CSV. `workers` have a `label`, and null for unknown hardware. Keys that
#    were always empty are gone: target, partition, account, num_clients, container_image, cluster_job_id. Later files also have
#    `order_seed`, and `position` of each job: its place in the order in which the jobs were sent.


def run_head(bundle: CampaignBundle) -> dict[str, Any]:
    """Return the part of the file that is known before the jobs are read."""
    return {
        "format": RUN_FORMAT,
        "benchmark_id": bundle.campaign_id,
        "name": bundle.name,
        "status": bundle.status.value,
        "created_at": utc_text(bundle.created_at),
        "ended_at": utc_text(bundle.ended_at),
        "user": bundle.user or None,
        "notes": bundle.notes,
        "labels": bundle.labels,
        "recipe": bundle.recipe,
        "recipe_hash": bundle.recipe_hash or None,
        "order_seed": bundle.campaign_id,
        "git_commit": bundle.git_commit or None,
        "versions": bundle.versions,
    }


def run_job(job: JobRecord, labels: Mapping[str, str], varied: Sequence[str] = ()) -> dict[str, Any]:
    """Return the entry of one job: where it ran, with which work, and what the runtime reported.

    Args:
        labels: the name of each device, by its worker's id.
        varied: the paths into a job at which the recipe's jobs differ.
    """
    result = job.result
    runtime: dict[str, Any] = result.runtime if result else {}
    workload = job.workload.model_dump(mode="json", exclude_none=True)
    return {
        "job_id": job.job_id,
        "status": job.status.value,
        "compute_unit": job.compute_unit,
        "capability": result.capability if result else job.capability,
        "worker": result.worker_id if result else job.worker_id,
        "device": labels.get(result.worker_id, result.device.name) if result else None,
        "hostname": result.device.name if result else None,
        "attempt": result.attempt if result else job.attempt,
        "position": job.position,
        "error": (result.error if result and result.error else job.error) or None,
        "error_kind": (result.error_kind if result else "") or None,
        "created_at": _utc(job.created_at),
        "started_at": _utc(job.started_at),
        "ended_at": _utc(job.ended_at),
        "workload": None if job.unreadable else workload,
        "parameters": job_parameters(workload, varied),
        "model_sha256": result.model_sha256 if result and result.model_sha256 else job.content_sha256,
        "provider": provider_of(runtime),
        "provider_share": runtime.get("provider_share"),
        "runtime": runtime,
        "software": result.software if result else {},
        "noise": result.noise.model_dump(mode="json") if result and result.noise else None,
        "timings_s": result.timings_s if result else {},
        **({"scores": scores} if (scores := _scores(result)) else {}),
    }


def _scores(result: Result | None) -> Any:
    """Return which scorers judged the answers to a task, with their versions and settings. None for a job without."""
    return result.outcome.detail.get("scores") if result is not None and result.outcome is not None else None


def _utc(moment: datetime | None) -> str | None:
    return utc_text(moment) if moment else None


class RunTail:
    """Collects the models and the workers while the jobs are read. Each is listed once."""

    def __init__(self, devices: Mapping[str, DeviceEntry]) -> None:
        self._devices = devices
        self._models: dict[tuple[str, str, str | None], dict[str, Any]] = {}  # an upload's source does not cover its weights
        self._workers: dict[str, dict[str, Any]] = {}

    def add(self, job: JobRecord) -> None:
        model, result = job.workload.inputs.get(MODEL), job.result
        if model is not None:
            sha256 = (result.model_sha256 if result else None) or model.content_sha256
            self._models[model.name, model.source, sha256] = {"name": model.name, "source": model.source, "sha256": sha256}
        if result is not None and result.worker_id not in self._workers:
            known = self._devices.get(result.worker_id, DeviceEntry(result.device.name))
            self._workers[result.worker_id] = {
                "label": known.label,
                "device": result.device.model_dump(mode="json"),
                "hardware": known.hardware,
                "software": result.software,
            }

    def content(self) -> dict[str, Any]:
        known = {(name, source) for name, source, sha256 in self._models if sha256 is not None}
        models = [one for key, one in self._models.items() if key[2] is not None or key[:2] not in known]
        return {"models": models, "workers": self._workers}
