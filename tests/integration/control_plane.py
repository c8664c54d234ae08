"""Runs the control plane with its threads in this process. Its jobs use the fake engine, whose durations are known."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator.app import ControlPlane
from orchestrator.dispatch.base import Dispatch
from orchestrator.dispatch.celery_queue import CeleryQueue
from orchestrator.operations.context import Context
from orchestrator.operations.short_form import ShortCampaign
from orchestrator.operations.submit import submit_short
from orchestrator.settings import Settings
from orchestrator.store import jobs
from orchestrator.store.tables import Job
from shared.ids import job_id
from tests.integration.worker_process import eventually

HEARTBEAT_TIMEOUT_S = 2.0
TIMEOUT = str(HEARTBEAT_TIMEOUT_S)  # the environment of its workers has the same value


class FakeEngineQueue(CeleryQueue):
    """Sends every job to the queue in which it was placed, but with the fake engine, which no worker advertises."""

    def publish(self, batch: Sequence[Dispatch]) -> None:
        fakes = [(item, [one.model_copy(update={"capability": "fake"}) for one in item.assignments]) for item in batch]
        super().publish([Dispatch(first, item.queue, item.priority, tuple(others)) for item, (first, *others) in fakes])


@contextmanager
def control_plane(redis_url: str, folder: Path, database_url: str | None = None, **settings: Any) -> Iterator[Context]:
    """Runs everything that `orchestrator.cli serve` runs, except for the API."""
    plane = ControlPlane(
        Settings(
            database_url=database_url or f"sqlite:///{folder / 'fleetmark.db'}",
            redis_url=redis_url,
            outputs_dir=folder / "outputs",
            models_dir=folder / "models",
            recipes_dir=folder / "recipes",
            **{"heartbeat_s": 0.2, "heartbeat_timeout_s": HEARTBEAT_TIMEOUT_S, "watch_sweep_s": 0.1} | settings,
        )
    )
    plane.context.queue.close()
    plane.context = dataclasses.replace(plane.context, queue=FakeEngineQueue(redis_url))
    plane.prepare(migrating=True)
    plane.start_consumer()
    plane.start_watch()
    try:
        yield plane.context
    finally:
        plane.stop()


def submit_jobs(ctx: Context, model: Path, *, jobs: int = 1, inferences: int) -> list[str]:
    """Submit a campaign of jobs that each run one schedule of the fake engine. Return the ids of the jobs."""
    one = {"compute_unit": "cpu.onnx", "num_inference_runs": inferences, "runs_per_job": 1}
    body = {"model_url": model.as_uri(), "jobs": [one] * jobs}
    campaign = submit_short(ctx, ShortCampaign.model_validate(body, strict=False)).campaign
    return [job_id(campaign.id, number) for number in range(1, jobs + 1)]


def job(ctx: Context, name: str) -> Job:
    with ctx.store.read() as session:
        found = jobs.get(session, name)
        session.expunge(found)
        return found


def until(ctx: Context, name: str, status: str, attempt: int | None = None) -> Job:
    """Wait until the job is in this state (and this attempt), and return it."""

    def look() -> Job | None:
        found = job(ctx, name)
        return found if found.status == status and attempt in (None, found.attempt) else None

    return eventually(look, f"{name} is {status}")
