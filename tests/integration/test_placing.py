"""Where jobs go when devices are many, absent, or go away."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.operations import turn
from orchestrator.operations.context import Context
from orchestrator.operations.short_form import ShortCampaign
from orchestrator.operations.submit import Submitted, submit_short
from orchestrator.store import jobs
from orchestrator.watch.memory import Memory
from orchestrator.watch.sweep import sweep
from shared.workers import WorkerStatus
from tests.integration.test_way_of_a_job import job

pytestmark = pytest.mark.both_databases

Submit = Callable[..., Submitted]
Register = Callable[..., str]


def test_many_lanes_that_nobody_can_serve_do_not_hold_up_the_next(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    absent = [{"compute_unit": "cpu.onnx", "device": f"absent-{number}"} for number in range(turn.LANES_AT_ONCE + 1)]
    body = {"model_url": "https://models.example/a.onnx", "jobs": absent}
    submit_short(ctx, ShortCampaign.model_validate(body, strict=False))
    later = submit(jobs=1, priority=0).campaign
    assert job(ctx, later).dispatched_at is not None


def test_jobs_of_a_label_leave_the_queue_of_a_dead_worker_for_a_living_one(ctx: Context, submit: Submit, register: Register) -> None:
    rocm = register("rocm", capabilities=("gpu.rocm.onnx",))
    campaign = submit(jobs=3, unit="GPU (ONNX)").campaign
    register("cuda", capabilities=("gpu.cuda.onnx",))
    sweep(ctx, Memory(), may_condemn=True)
    assert job(ctx, campaign).queue == "gpu.rocm.onnx", "its worker lives"
    ctx.registry.set_status(rocm, WorkerStatus.FAULTY)
    sweep(ctx, Memory(), may_condemn=True)
    moved = job(ctx, campaign)
    assert (moved.queue, moved.capability, moved.attempt) == ("gpu.cuda.onnx", "gpu.cuda.onnx", 1)
    assert ctx.queue.depths(["gpu.rocm.onnx", "gpu.cuda.onnx"]) == {"gpu.rocm.onnx": 0, "gpu.cuda.onnx": 3}


def test_a_job_in_a_queue_that_lost_its_last_worker_says_what_it_waits_for(ctx: Context, submit: Submit, register: Register) -> None:
    worker = register()
    campaign = submit(jobs=1).campaign
    ctx.registry.set_status(worker, WorkerStatus.FAULTY)
    sweep(ctx, Memory(), may_condemn=True)
    with ctx.store.read() as session:
        found = jobs.get(session, f"{campaign.id}-job-1")
        assert found.dispatched_at is None
        assert jobs.lane_of(session, found).waiting_for == "waiting for a worker with cpu.onnx"
    ctx.registry.heartbeat(worker)
    sweep(ctx, Memory(), may_condemn=True)
    assert ctx.queue.depths(["cpu.onnx"]) == {"cpu.onnx": 1}


def test_a_sweep_gives_work_to_every_worker_that_can_do_it(ctx: Context, submit: Submit, register: Register) -> None:
    submit(jobs=100, unit="GPU (ONNX)")
    register("rocm", capabilities=("gpu.rocm.onnx",))
    register("cuda", capabilities=("gpu.cuda.onnx",))
    sweep(ctx, Memory(), may_condemn=False)
    assert ctx.queue.depths(["gpu.rocm.onnx", "gpu.cuda.onnx"]) == {"gpu.rocm.onnx": 50, "gpu.cuda.onnx": 50}
