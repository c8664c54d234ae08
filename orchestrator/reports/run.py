"""`run.json`: what it takes to run a campaign again, and on what it ran."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any

from orchestrator.reports.bundle import CampaignBundle, JobRecord
from orchestrator.reports.rows import utc_text

RUN_FORMAT = 2
# 1: the first.
# 2: `models` is a list of `name`, `source` and `sha256`, because two models may have one source; `sha256` is of the model with its weights.


def recipe_hash(recipe: dict[str, Any]) -> str:
    """SHA-256 of the recipe as JSON with sorted keys and no spaces: equal recipes have equal hashes, however written."""
    canonical = json.dumps(recipe, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()


def run_head(bundle: CampaignBundle) -> dict[str, Any]:
    """What is known before the jobs are read."""
    return {
        "format": RUN_FORMAT,
        "benchmark_id": bundle.campaign_id,
        "name": bundle.name,
        "status": bundle.status.value,
        "created_at": utc_text(bundle.created_at),
        "ended_at": utc_text(bundle.ended_at),
        "user": bundle.user,
        "notes": bundle.notes,
        "labels": bundle.labels,
        "recipe": bundle.recipe,
        "recipe_hash": recipe_hash(bundle.recipe),
        "git_commit": bundle.git_commit or None,
        "versions": bundle.versions,
        "target": "local",
        "partition": None,
        "account": None,
        "num_clients": None,
    }


def run_job(job: JobRecord) -> dict[str, Any]:
    """One job: where it ran, with what, and what the runtime said of itself."""
    result = job.result
    return {
        "job_id": job.job_id,
        "status": job.status.value,
        "compute_unit": job.compute_unit,
        "capability": result.capability if result else job.capability,
        "worker": result.worker_id if result else job.worker_id,
        "hostname": result.device.name if result else None,
        "attempt": job.attempt,
        "error": (result.error if result and result.error else job.error) or None,
        "error_kind": (result.error_kind if result else "") or None,
        "created_at": _utc(job.created_at),
        "started_at": _utc(job.started_at),
        "ended_at": _utc(job.ended_at),
        "workload": None if job.unreadable else job.workload.model_dump(mode="json", exclude_none=True),
        "model_sha256": result.model_sha256 if result and result.model_sha256 else job.workload.model.content_sha256,
        "runtime": result.runtime if result else {},
        "software": result.software if result else {},
        "noise": result.noise.model_dump(mode="json") if result and result.noise else None,
        "timings_s": result.timings_s if result else {},
        "container_image": None,
        "cluster_job_id": None,
    }


def _utc(moment: datetime | None) -> str | None:
    return utc_text(moment) if moment else None


class RunTail:
    """Collects, while the jobs go by, what is said once for all of them: the models and the workers."""

    def __init__(self) -> None:
        self._models: dict[tuple[str, str, str | None], dict[str, Any]] = {}  # an upload's source names its graph alone
        self._workers: dict[str, dict[str, Any]] = {}

    def add(self, job: JobRecord) -> None:
        model, result = job.workload.model, job.result
        sha256 = (result.model_sha256 if result else None) or model.content_sha256
        self._models[model.name, model.source, sha256] = {"name": model.name, "source": model.source, "sha256": sha256}
        if result is not None and result.worker_id not in self._workers:
            self._workers[result.worker_id] = {
                "device": result.device.model_dump(mode="json"),
                "hardware": job.hardware,
                "software": result.software,
            }

    def content(self) -> dict[str, Any]:
        known = {(name, source) for name, source, sha256 in self._models if sha256 is not None}
        models = [one for key, one in self._models.items() if key[2] is not None or key[:2] not in known]
        return {"models": models, "workers": self._workers}
