"""Tests where jobs are sent if there are many devices, none, or if devices leave."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import text, update
from sqlmodel import Session, col

from orchestrator.domain.placement import Fleet
from orchestrator.operations import turn
from orchestrator.operations.context import Context
from orchestrator.operations.dispatching import top_up
from orchestrator.operations.short_form import ShortCampaign
from orchestrator.operations.submit import Submitted, submit_recipe, submit_short
from orchestrator.registry import Registry
from orchestrator.store import Store, jobs, turns
from orchestrator.store.moves import lock_jobs
from orchestrator.store.tables import Job
from orchestrator.store.turns import Waiting
from orchestrator.watch.memory import Memory
from orchestrator.watch.sweep import sweep
from shared.clock import FakeClock
from shared.jobs import JobStatus
from shared.recipes import parse_recipe
from shared.workers import WorkerStatus
from tests.integration.test_way_of_a_job import job

pytestmark = pytest.mark.both_databases

Submit = Callable[..., Submitted]
Register = Callable[..., str]


def test_many_lanes_that_nobody_can_serve_do_not_hold_up_the_next(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    absent = [{"compute_unit": "cpu.onnx", "device": f"absent-{number}"} for number in range(turn.LANES_AT_ONCE + 1)]
    body = {"model_url": "https://models.example/a.onnx", "jobs": absent, "wait_for_device": True}
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


def test_jobs_for_any_of_some_devices_all_leave_in_one_turn(ctx: Context, register: Register) -> None:
    """Each device that fulfils the requirements gets one running job and one that waits next, however many devices there are."""
    able = {register(f"udid-{number}", hardware={"memory_mb": 2_000}) for number in range(20)}
    register("small", capabilities=("cpu.onnx",), hardware={"memory_mb": 500})
    recipe = {"model": "https://models.example/a.onnx", "on": ["cpu.onnx"], "sweep": {"inferences": list(range(1, 51))}}
    campaign = submit_recipe(ctx, parse_recipe(recipe | {"devices": "any", "requires": {"min_memory_mb": 1_000}})).campaign
    with ctx.store.read() as session:
        sent: Counter[str] = Counter()
        for item in turns.waiting(session):
            sent[item.queue] += item.jobs
    assert sent == {f"worker.{worker}": 2 for worker in able}
    assert top_up(ctx) == 0
    assert campaign.total_jobs == 50


def test_two_that_fill_a_queue_at_once_fill_its_window_and_no_more(
    ctx: Context, submit: Submit, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process counts the jobs in the queue and adds the missing ones. Without a lock, both would send a whole window."""
    submit(jobs=200)
    register()
    both_have_counted = threading.Barrier(2)
    count = turns.waiting

    def counted(session: Session) -> list[Waiting]:
        found = count(session)
        with contextlib.suppress(threading.BrokenBarrierError):  # on a lock, the other process can count only after this one has written
            both_have_counted.wait(1.0)
        return found

    monkeypatch.setattr(turns, "waiting", counted)
    stores = [Store(ctx.settings.database_url) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        sent = list(pool.map(lambda store: top_up(dataclasses.replace(ctx, store=store)), stores))
    for store in stores:
        store.close()
    assert sorted(sent) == [0, 68]
    assert ctx.queue.depths(["cpu.onnx"]) == {"cpu.onnx": 68}


def test_a_process_that_was_cut_off_while_it_filled_the_queues_holds_up_nobody_for_long(
    ctx: Context, submit: Submit, register: Register
) -> None:
    """PostgreSQL does not notice for hours that a client has gone. Until then the transaction and its lock would stay."""
    register()
    if ctx.store.is_sqlite:
        with ctx.store.read() as session:
            assert turns.lock_windows(session), "one file has one writer, which a dead process cannot be"
        submit(jobs=1)
        assert ctx.queue.depths(["cpu.onnx"]) == {"cpu.onnx": 1}
        return
    with Session(ctx.store.engine) as cut_off:
        assert turns.lock_windows(cut_off)
        campaign = submit(jobs=1).campaign
        assert job(ctx, campaign).dispatched_at is None, "accepted all the same; the watch sends it"
        assert cut_off.execute(text("SHOW idle_in_transaction_session_timeout")).scalar_one() == "30s", "and the server ends it by itself"
    assert top_up(ctx) == 1


def test_a_turn_sends_no_job_that_is_just_being_cancelled_and_does_not_wait_for_it(
    ctx: Context, submit: Submit, register: Register
) -> None:
    campaign = submit(jobs=3).campaign
    register()
    if ctx.store.is_sqlite:  # it has one writer at a time, so a cancellation has ended before a turn begins
        assert top_up(ctx) == 3
        return
    with ThreadPoolExecutor(1) as pool, Session(ctx.store.engine) as cancelling:
        assert lock_jobs(cancelling, [f"{campaign.id}-job-1"])
        assert pool.submit(top_up, ctx).result(timeout=10) == 2
        cancelling.rollback()
    assert job(ctx, campaign).dispatched_at is None
    assert top_up(ctx) == 1, "it was not cancelled after all"


class CountingRegistry(Registry):
    """Counts the looks at the fleet for a place."""

    looks = 0

    def fleets(self) -> tuple[Fleet, Fleet]:
        self.looks += 1
        return super().fleets()


def test_a_turn_looks_at_the_fleet_only_if_there_is_a_job_that_may_be_sent_now(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register
) -> None:
    """With 1 000 workers each look takes 17 ms, and there is a turn after each batch of results and in each sweep."""
    register()
    campaign = submit(jobs=1).campaign
    registry = CountingRegistry(ctx.settings.redis_url, ctx.registry.timeout_s)
    counted = dataclasses.replace(ctx, registry=registry)
    assert (top_up(counted), registry.looks) == (0, 0), "the only job is sent"
    later = {"status": JobStatus.PENDING, "dispatched_at": None, "not_before": clock.now() + timedelta(seconds=5)}
    ctx.store.transact(lambda session: session.execute(update(Job).where(col(Job.campaign_id) == campaign.id).values(later)))
    assert (top_up(counted), registry.looks) == (0, 0), "the job may not be sent yet"
    clock.advance(5)
    assert (top_up(counted), registry.looks) == (1, 1)
    submit(unit="gpu.cuda.onnx")
    assert (top_up(counted), registry.looks) == (0, 2), "a job that no device can take waits"
    registry.close()
