"""Tests the watch: silent workers, lost attempts, lost messages, deadlines."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from orchestrator.domain.findings import Found
from orchestrator.operations.context import Context
from orchestrator.operations.record import record
from orchestrator.operations.submit import Submitted
from orchestrator.watch import Watch
from orchestrator.watch.memory import Memory
from orchestrator.watch.sweep import sweep
from shared.clock import FakeClock
from shared.ids import job_id
from shared.protocol import keys, scripts
from shared.workers import WorkerStatus
from tests.integration.redis_time import pass_time
from tests.integration.reports import result, started
from tests.integration.test_way_of_a_job import counters, events, job

pytestmark = pytest.mark.both_databases

Submit = Callable[..., Submitted]
Register = Callable[..., str]


def beat(ctx: Context, worker_id: str, incarnation: str, held: str = "[]", current_job: str = "", stage: str = "") -> None:
    ctx.registry.redis.eval(scripts.HEARTBEAT, 0, worker_id, incarnation, "", current_job, held, stage, "", "")


def test_a_silent_worker_becomes_faulty_and_its_job_goes_back(ctx: Context, clock: FakeClock, submit: Submit, register: Register) -> None:
    worker = register()
    campaign = submit(jobs=1).campaign
    name = job_id(campaign.id, 1)
    record(ctx, [started(name, worker_id=worker)])
    assert sweep(ctx, Memory(), may_condemn=True).faults_found == 0
    pass_time(ctx.registry.redis, ctx.registry.timeout_s + 0.1)
    found = sweep(ctx, Memory(), may_condemn=True)
    assert (found.faults_found, found.jobs_requeued) == (1, 1)
    assert ctx.registry.get(worker).status == "faulty"
    assert (job(ctx, campaign).status, job(ctx, campaign).attempt) == ("pending", 2)
    assert events(ctx, campaign) == ["started", "lost"]
    ctx.registry.heartbeat(worker)
    assert ctx.registry.get(worker).status == "active", "it is heard again"
    clock.advance(60)
    assert sweep(ctx, Memory(), may_condemn=True).jobs_dispatched == 1, "its backoff is over"


def test_nobody_is_condemned_before_everyone_had_the_time_to_be_heard(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register
) -> None:
    worker = register()
    campaign = submit(jobs=1).campaign
    record(ctx, [started(job_id(campaign.id, 1), worker_id=worker)])
    pass_time(ctx.registry.redis, ctx.registry.timeout_s + 0.1)
    watch = Watch(ctx)
    first = watch.once()
    assert first is not None
    assert first.faults_found == 0
    for _ in range(2):
        clock.advance(ctx.registry.timeout_s / 2)
        watch.once()
    assert ctx.registry.monitor.counters()["faults_found"] == 1


def test_two_watches_do_not_both_lead(ctx: Context) -> None:
    first, second = Watch(ctx), Watch(ctx)
    assert first.once() == Found()
    assert second.once() is None


def test_a_worker_that_crashed_and_is_back_does_not_hide_its_lost_job(ctx: Context, submit: Submit, register: Register) -> None:
    worker = register(incarnation="first-start")
    campaign = submit(jobs=1).campaign
    name = job_id(campaign.id, 1)
    record(ctx, [started(name, worker_id=worker, incarnation="first-start")])
    memory = Memory()
    beat(ctx, worker, "first-start", held=f'[["{name}", 1]]')
    assert sweep(ctx, memory, may_condemn=True).jobs_requeued == 0
    register(incarnation="second-start", previous_incarnation="first-start")
    assert sweep(ctx, memory, may_condemn=True).jobs_requeued == 0, "one beat without it is no proof"
    beat(ctx, worker, "second-start")
    assert sweep(ctx, memory, may_condemn=True).jobs_requeued == 0
    beat(ctx, worker, "second-start")
    found = sweep(ctx, memory, may_condemn=True)
    assert (found.jobs_requeued, found.attempts_unheld) == (1, 1)
    assert job(ctx, campaign).attempt == 2


def test_a_message_that_is_in_no_queue_is_sent_again(ctx: Context, clock: FakeClock, submit: Submit, register: Register) -> None:
    register()
    campaign = submit(jobs=1).campaign
    ctx.queue.purge(["cpu.onnx"])
    clock.advance(1)
    memory = Memory()
    assert sweep(ctx, memory, may_condemn=False).jobs_sent_again == 0
    assert sweep(ctx, memory, may_condemn=False).jobs_sent_again == 1
    assert ctx.queue.depths(["cpu.onnx"]) == {"cpu.onnx": 1}
    assert job(ctx, campaign).attempt == 1, "the same attempt: copies are harmless"


def test_the_private_queue_of_a_dead_worker_is_drained_back(ctx: Context, submit: Submit, register: Register) -> None:
    worker = register("only-one")
    campaign = submit(jobs=1, device="only-one").campaign
    ctx.registry.set_status(worker, WorkerStatus.FAULTY)
    sweep(ctx, Memory(), may_condemn=True)
    back = job(ctx, campaign)
    assert (back.status, back.dispatched_at) == ("pending", None)
    assert ctx.queue.depths([f"worker.{worker}"]) == {f"worker.{worker}": 0}


def test_a_job_that_nobody_can_start_fails_with_the_reason(ctx: Context, clock: FakeClock, submit: Submit) -> None:
    campaign = submit(jobs=1, unit="gpu.rocm.onnx").campaign
    clock.advance(86_401)
    assert sweep(ctx, Memory(), may_condemn=True).jobs_timed_out == 1
    assert counters(ctx, campaign) == {"failed": 1}
    assert job(ctx, campaign).error == "no worker with gpu.rocm.onnx"


def test_a_job_past_its_deadline_and_grace_has_failed(ctx: Context, clock: FakeClock, submit: Submit, register: Register) -> None:
    worker = register()
    campaign = submit(jobs=1, timeout_s=60).campaign
    name = job_id(campaign.id, 1)
    record(ctx, [started(name, worker_id=worker)])
    clock.advance(60 + ctx.settings.deadline_grace_s + 1)
    assert sweep(ctx, Memory(), may_condemn=True).jobs_timed_out == 1
    assert counters(ctx, campaign) == {"failed": 1}
    with redis.Redis.from_url(ctx.settings.redis_url) as client:
        assert client.exists(keys.ended(name)), "whoever runs it stops at its next beat"
    record(ctx, [result(name, worker_id=worker)])
    assert counters(ctx, campaign) == {"failed": 1}


def test_the_sweeps_are_counted_for_everyone_to_see(ctx: Context) -> None:
    watch = Watch(ctx)
    watch.once()
    watch.once()
    counted = ctx.registry.monitor.counters()
    assert counted["sweeps"] == 2
    assert counted["last_sweep"] > 0
