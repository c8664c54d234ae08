"""Tests that queue timeouts and deadlines end every accepted job, whatever happened to its earlier attempts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlmodel import select

from orchestrator.operations.context import Context
from orchestrator.operations.record import record
from orchestrator.operations.submit import Submitted
from orchestrator.store import queue_waits
from orchestrator.store.tables import Lane
from orchestrator.watch import Watch
from orchestrator.watch.memory import Memory
from orchestrator.watch.sweep import sweep
from shared.clock import FakeClock
from shared.ids import job_id
from shared.jobs import MAX_TIMEOUT_S
from shared.workers import WAITING_FOR_HOST, WorkerStatus
from tests.integration.redis_time import pass_time
from tests.integration.reports import handed_back, result, started
from tests.integration.test_watch import beat
from tests.integration.test_way_of_a_job import counters, events, job

pytestmark = pytest.mark.both_databases

Submit = Callable[..., Submitted]
Register = Callable[..., str]
DAY_S = 86_400


def test_a_job_that_went_back_waits_its_queue_timeout_from_then_on(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register
) -> None:
    worker = register()
    campaign = submit(jobs=1).campaign
    name = job_id(campaign.id, 1)
    record(ctx, [started(name)])
    clock.advance(DAY_S - 100)
    record(ctx, [handed_back(name)])
    ctx.registry.remove(worker)
    clock.advance(200)
    assert sweep(ctx, Memory(), may_condemn=True).jobs_timed_out == 0, "it was started in time"
    clock.advance(DAY_S)
    assert sweep(ctx, Memory(), may_condemn=True).jobs_timed_out == 1
    assert counters(ctx, campaign) == {"failed": 1}
    assert job(ctx, campaign).error == "no worker with cpu.onnx"


def test_the_queue_timeout_stands_still_while_a_worker_that_could_take_the_job_is_at_work(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register
) -> None:
    worker, other = register("first"), register("second", capabilities=("gpu.cuda.onnx",))
    long = submit(jobs=2, timeout_s=MAX_TIMEOUT_S).campaign
    record(ctx, [started(job_id(long.id, 1), worker_id=worker)])

    def look_for_two_days(busy: str, idle: str) -> int:
        late = 0
        for _ in range(48):
            clock.advance(DAY_S / 24)
            ctx.registry.heartbeat(busy, WorkerStatus.BUSY)
            ctx.registry.heartbeat(idle)
            late += sweep(ctx, Memory(), may_condemn=False).jobs_timed_out
        return late

    assert look_for_two_days(busy=worker, idle=other) == 0, "the worker is busy with the same campaign"
    ctx.registry.heartbeat(worker, WorkerStatus.CLEANUP)
    ctx.registry.heartbeat(worker, WorkerStatus.ACTIVE)
    assert look_for_two_days(busy=other, idle=worker) == 1, "one that is idle and takes nothing, or works on other things, does not count"
    assert job(ctx, long, 2).error == "no worker took it in time"


def test_a_job_that_ran_when_last_nights_backup_was_made_is_lost_and_not_late(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register
) -> None:
    """Its deadline has passed long ago. Its worker is alive, but does not hold the job any more."""
    worker = register(incarnation="first-start")
    campaign = submit(jobs=1, timeout_s=60).campaign
    record(ctx, [started(job_id(campaign.id, 1), worker_id=worker, incarnation="first-start")])
    clock.advance(DAY_S / 3)
    memory, late, lost = Memory(), 0, 0
    for _ in range(4):
        beat(ctx, worker, "first-start")
        found = sweep(ctx, memory, may_condemn=True)
        late, lost = late + found.jobs_timed_out, lost + found.attempts_unheld
    assert (late, lost) == (0, 1)
    assert events(ctx, campaign) == ["started", "lost"]
    assert (job(ctx, campaign).status, job(ctx, campaign).attempt) == ("pending", 2)


def test_a_job_whose_device_went_away_before_it_began_still_times_out(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register
) -> None:
    worker = register("only-one")
    campaign = submit(jobs=1, device="only-one").campaign
    ctx.registry.set_status(worker, WorkerStatus.FAULTY)
    sweep(ctx, Memory(), may_condemn=True)
    assert job(ctx, campaign).attempt == 1, "nobody has begun it"
    clock.advance(DAY_S + 1)
    sweep(ctx, Memory(), may_condemn=True)
    assert counters(ctx, campaign) == {"failed": 1}
    assert job(ctx, campaign).error == "no worker with cpu.onnx on only-one"


def test_a_job_lost_past_its_deadline_goes_back_and_is_not_cancelled(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register
) -> None:
    worker = register()
    campaign = submit(jobs=1, timeout_s=60).campaign
    record(ctx, [started(job_id(campaign.id, 1), worker_id=worker)])
    pass_time(ctx.registry.redis, ctx.registry.timeout_s + 0.1)
    clock.advance(60 + ctx.settings.deadline_grace_s + 1)
    found = sweep(ctx, Memory(), may_condemn=True)
    assert (found.jobs_requeued, found.jobs_timed_out) == (1, 0)
    assert counters(ctx, campaign) == {"pending": 1}
    assert events(ctx, campaign) == ["started", "lost"]


def test_the_time_of_a_job_does_not_run_while_another_one_measures_on_its_host(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register
) -> None:
    worker, neighbour = register(incarnation="first-start"), register("neighbour", incarnation="its-start")
    campaign = submit(jobs=2, timeout_s=60).campaign
    name, other = job_id(campaign.id, 1), job_id(campaign.id, 2)
    record(ctx, [started(name, worker_id=worker), started(other, worker_id=neighbour, incarnation="its-start")])
    beat(ctx, neighbour, "its-start", held=f'[["{other}", 1]]', current_job=other, stage="repeat 1: load")
    held = f'[["{name}", 1]]'
    for _ in range(200):
        beat(ctx, worker, "first-start", held=held, current_job=name, stage=WAITING_FOR_HOST)
        clock.advance(1)
        assert sweep(ctx, Memory(), may_condemn=False, may_expire=False).jobs_timed_out == 0
    assert sweep(ctx, Memory(), may_condemn=False).jobs_timed_out == 1, "the other one's time is over"
    beat(ctx, worker, "first-start", held=held, current_job=name, stage="repeat 1: load")
    clock.advance(60)
    assert sweep(ctx, Memory(), may_condemn=False).jobs_timed_out == 0, "its own time, from when it began"
    clock.advance(ctx.settings.deadline_grace_s + 1)
    assert sweep(ctx, Memory(), may_condemn=False).jobs_timed_out == 1


def test_the_job_of_a_worker_that_said_goodbye_is_not_lost_before_its_word_is_read(
    ctx: Context, submit: Submit, register: Register
) -> None:
    worker = register()
    campaign = submit(jobs=1).campaign
    name = job_id(campaign.id, 1)
    record(ctx, [started(name, worker_id=worker)])
    ctx.registry.remove(worker)
    assert sweep(ctx, Memory(), may_condemn=True).jobs_requeued == 0
    record(ctx, [handed_back(name)])
    assert (job(ctx, campaign).attempt, job(ctx, campaign).losses) == (2, 0)


def test_a_worker_that_left_without_a_word_of_its_job_has_lost_it(ctx: Context, submit: Submit, register: Register) -> None:
    worker = register()
    campaign = submit(jobs=1).campaign
    record(ctx, [started(job_id(campaign.id, 1), worker_id=worker)])
    ctx.registry.remove(worker)
    pass_time(ctx.registry.redis, ctx.registry.timeout_s + 0.1)
    assert sweep(ctx, Memory(), may_condemn=True).jobs_requeued == 1


@pytest.mark.parametrize("slept", [False, True])
def test_after_a_sleep_everyone_gets_the_time_to_be_heard_again(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register, slept: bool
) -> None:
    """This happens on a laptop that slept: every heartbeat is old, but no worker is at fault."""
    worker = register()
    campaign = submit(jobs=1).campaign
    record(ctx, [started(job_id(campaign.id, 1), worker_id=worker)])
    watch = Watch(ctx)
    for _ in range(4):
        watch.once()
        clock.advance(ctx.registry.timeout_s / 4)
        pass_time(ctx.registry.redis, ctx.registry.timeout_s / 4)
    if slept:
        clock.advance(3_600)
        pass_time(ctx.registry.redis, 3_600)
    turn = watch.once()
    assert turn is not None
    assert turn.faults_found == (0 if slept else 1)


def test_a_result_of_a_job_past_its_queue_timeout_is_unwanted_and_the_failure_stands(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register
) -> None:
    register()
    campaign = submit(jobs=1).campaign
    clock.advance(DAY_S + 1)
    sweep(ctx, Memory(), may_condemn=True)
    record(ctx, [result(job_id(campaign.id, 1))])
    assert counters(ctx, campaign) == {"failed": 1}
    assert events(ctx, campaign) == ["queue_timeout", "unwanted"]


def test_a_campaign_that_is_committed_while_the_watch_adds_lost_time_has_not_waited(
    ctx: Context, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(jobs=1)
    # the campaigns are read before this one is committed, and its lane is read after that
    monkeypatch.setattr(queue_waits, "_running", lambda _: [])
    ctx.store.transact(lambda session: queue_waits.stand_still(session, timedelta(minutes=1), ctx.clock.now()))
    with ctx.store.read() as session:
        assert [lane.served_at for lane in session.scalars(select(Lane))] == [None]
