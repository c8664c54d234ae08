"""Tests which time counts: deadlines and queue timeouts pause while no watch or consumer runs, but still expire."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from sqlalchemy import update
from sqlmodel import col

from orchestrator.consumer.inbox import Inbox
from orchestrator.operations.context import Context
from orchestrator.operations.record import record
from orchestrator.operations.submit import Submitted
from orchestrator.store.tables import Campaign
from orchestrator.watch import Watch
from orchestrator.watch.backlog import BACKLOG_WAIT_S
from orchestrator.watch.deadlines import HOST_WAIT_S, RESULT_WAIT_S, UNKNOWN_HOLDER_WAIT_S
from orchestrator.watch.losses import OUTAGE_MIN
from orchestrator.watch.memory import Memory
from orchestrator.watch.sweep import sweep
from shared.clock import FakeClock
from shared.ids import job_id
from shared.protocol import scripts
from shared.protocol.messages import REPORT
from shared.workers import WAITING_FOR_HOST
from tests.integration.redis_time import pass_time
from tests.integration.reports import INCARNATION, result, started
from tests.integration.test_way_of_a_job import counters, events, job

pytestmark = pytest.mark.both_databases

Submit = Callable[..., Submitted]
Register = Callable[..., str]
DAY_S = 86_400.0
TIMEOUT_S = 60.0
STEP_S = 10.0  # a shorter gap than one that counts as an absence


def say(
    ctx: Context, worker_id: str, held: list[str], current: str = "", stage: str = "", status: str = "busy", incarnation: str = INCARNATION
) -> None:
    """Send a heartbeat of a worker that holds the first attempts of these jobs."""
    said = [worker_id, incarnation, status, current, json.dumps([[name, 1] for name in held]), stage, "", ""]
    ctx.registry.redis.eval(scripts.HEARTBEAT, 0, *said)


class Days:
    """Lets time pass, with or without a watch, a consumer and workers that send heartbeats."""

    def __init__(self, ctx: Context, clock: FakeClock) -> None:
        self._ctx, self._clock = ctx, clock
        self._inbox = Inbox(ctx.settings.redis_url)
        self.watch = Watch(ctx)
        self.beats: list[Callable[[], None]] = []

    def nobody_is_there(self, seconds: float) -> None:
        """Let time pass while the control plane is away, and then start it again."""
        self._clock.advance(seconds)
        pass_time(self._ctx.registry.redis, seconds)
        self.watch = Watch(self._ctx)

    def pass_by(self, seconds: float, *, recording: bool = True) -> None:
        for _ in range(int(seconds / STEP_S)):
            self._clock.advance(STEP_S)
            pass_time(self._ctx.registry.redis, STEP_S)
            for beat in self.beats:
                beat()
            if recording:
                self.record_all()
            self.watch.once()

    def record_all(self) -> None:
        if reports := [REPORT.validate_json(taken.body) for taken in self._inbox.take(100)]:
            record(self._ctx, reports)
            self._inbox.done()

    def a_consumer_is_busy(self) -> None:
        self._inbox.take(0)

    def close(self) -> None:
        self._inbox.close()


@pytest.fixture
def days(ctx: Context, clock: FakeClock) -> Iterator[Days]:
    made = Days(ctx, clock)
    yield made
    made.close()


def _queue_timeout(ctx: Context, submitted: Submitted, seconds: float) -> None:
    campaign = submitted.campaign
    until = campaign.created_at + timedelta(seconds=seconds)
    mine = update(Campaign).where(col(Campaign.id) == campaign.id)
    ctx.store.transact(lambda session: session.execute(mine.values(queue_deadline_at=until)))


def _report(ctx: Context, *names: str, worker_id: str) -> None:
    """Put results into the queue."""
    for name in names:
        ctx.registry.redis.lpush("results", result(name, worker_id=worker_id).model_dump_json())


def test_what_was_measured_before_an_outage_is_recorded_and_what_runs_keeps_the_time_it_had(
    ctx: Context, days: Days, submit: Submit, register: Register
) -> None:
    worker = register(incarnation=INCARNATION)
    campaign = submit(jobs=2, timeout_s=TIMEOUT_S).campaign
    done, runs = job_id(campaign.id, 1), job_id(campaign.id, 2)
    record(ctx, [started(done, worker_id=worker), started(runs, worker_id=worker)])
    days.beats = [lambda: say(ctx, worker, [runs, done], current=runs)]
    days.pass_by(40)
    _report(ctx, done, worker_id=worker)
    days.nobody_is_there(DAY_S)
    days.pass_by(60, recording=False)
    assert counters(ctx, campaign) == {"running": 2}, "nothing is over before what waits is recorded"
    days.pass_by(20)
    assert counters(ctx, campaign) == {"complete": 1, "running": 1}
    days.pass_by(100)
    assert counters(ctx, campaign) == {"complete": 1, "failed": 1}, "and then its time is over: it counts while somebody looks"


def test_a_job_that_nobody_begins_fails_after_its_queue_timeout_of_days_on_which_somebody_looked(
    ctx: Context, days: Days, submit: Submit
) -> None:
    """The queue timeout counts only the time in which a watch looked.

    The laptop of this test is closed each night. The nights do not count, and the count does not start again in the morning.
    """
    made = submit(jobs=1, device="absent")
    _queue_timeout(ctx, made, 300)
    for _ in range(3):
        days.pass_by(90)
        assert counters(ctx, made.campaign) == {"pending": 1}
        days.nobody_is_there(DAY_S)
    days.pass_by(90)
    assert counters(ctx, made.campaign) == {"failed": 1}
    assert job(ctx, made.campaign).error == "no worker with cpu.onnx on absent"


def test_jobs_that_waited_through_an_outage_are_taken_and_not_failed_when_it_is_over(
    ctx: Context, days: Days, submit: Submit, register: Register
) -> None:
    worker = register(incarnation=INCARNATION)
    made = submit(jobs=3)
    _queue_timeout(ctx, made, 300)
    days.beats = [lambda: say(ctx, worker, [], status="active")]
    days.pass_by(50)
    days.nobody_is_there(DAY_S)
    days.pass_by(200)
    assert counters(ctx, made.campaign) == {"pending": 3}
    days.pass_by(100)
    assert counters(ctx, made.campaign) == {"failed": 3}, "an idle worker that takes nothing holds no clock"


def test_a_job_that_went_back_before_an_outage_waits_as_long_as_the_others_after_it(
    ctx: Context, days: Days, submit: Submit, register: Register
) -> None:
    worker = register(incarnation=INCARNATION)
    made = submit(jobs=1)
    _queue_timeout(ctx, made, 300)
    days.beats = [lambda: say(ctx, worker, [], status="active")]
    days.pass_by(250)
    days.beats = []
    record(ctx, [started(job_id(made.campaign.id, 1), worker_id=worker)])
    ctx.registry.remove(worker)
    days.pass_by(40)
    assert events(ctx, made.campaign) == ["started", "lost"]
    days.nobody_is_there(DAY_S)
    days.pass_by(250)
    assert counters(ctx, made.campaign) == {"pending": 1}
    days.pass_by(80)
    assert counters(ctx, made.campaign) == {"failed": 1}


def test_while_nobody_records_no_time_is_over_and_none_has_gone_by_when_somebody_does_again(
    ctx: Context, days: Days, submit: Submit, register: Register
) -> None:
    worker = register(incarnation=INCARNATION)
    made = submit(jobs=3, timeout_s=TIMEOUT_S)
    _queue_timeout(ctx, made, 200)
    done, runs, waits = (job_id(made.campaign.id, number) for number in (1, 2, 3))
    record(ctx, [started(done, worker_id=worker), started(runs, worker_id=worker)])
    days.beats = [lambda: say(ctx, worker, [runs, done], current=runs, status="active")]
    days.pass_by(40)
    _report(ctx, done, worker_id=worker)
    days.pass_by(600, recording=False)
    assert counters(ctx, made.campaign) == {"running": 2, "pending": 1}
    days.pass_by(20)
    assert counters(ctx, made.campaign) == {"complete": 1, "running": 1, "pending": 1}
    days.pass_by(80)
    assert events(ctx, made.campaign, 2) == ["started", "deadline_exceeded"]
    assert events(ctx, made.campaign, 3) == [], "its own time is not over"
    days.pass_by(100)
    assert job(ctx, made.campaign, 3).error == "no worker took it in time", waits


def test_under_work_that_never_lets_the_results_run_out_deadlines_come_all_the_same(
    ctx: Context, days: Days, submit: Submit, register: Register
) -> None:
    worker = register(incarnation=INCARNATION)
    campaign = submit(jobs=1, timeout_s=TIMEOUT_S).campaign
    name = job_id(campaign.id, 1)
    record(ctx, [started(name, worker_id=worker)])
    ctx.registry.redis.lpush("results", "there is always one more")
    days.beats = [lambda: say(ctx, worker, [name], current=name), days.a_consumer_is_busy]
    days.pass_by(BACKLOG_WAIT_S - 50, recording=False)
    assert counters(ctx, campaign) == {"running": 1}
    days.pass_by(100, recording=False)
    assert counters(ctx, campaign) == {"failed": 1}


def test_a_wall_clock_that_is_set_forward_takes_the_deadlines_with_it(
    ctx: Context, clock: FakeClock, days: Days, submit: Submit, register: Register
) -> None:
    worker = register(incarnation=INCARNATION)
    campaign = submit(jobs=1, timeout_s=TIMEOUT_S).campaign
    name = job_id(campaign.id, 1)
    record(ctx, [started(name, worker_id=worker)])
    days.beats = [lambda: say(ctx, worker, [name], current=name)]
    days.pass_by(50)
    before = job(ctx, campaign).deadline_at
    clock.advance(3_600)
    days.pass_by(10)
    assert before is not None
    moved = job(ctx, campaign).deadline_at
    assert moved is not None
    assert (moved - before).total_seconds() == 3_600 + STEP_S
    days.pass_by(100)
    assert counters(ctx, campaign) == {"failed": 1}


def test_a_result_that_its_worker_cannot_send_is_waited_for_a_day_longer(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register
) -> None:
    """Its upload is refused because the API is away. The heartbeat still names the job, but the worker does not work on it any more."""
    worker = register(incarnation=INCARNATION)
    campaign = submit(jobs=2, timeout_s=TIMEOUT_S).campaign
    lies, runs = job_id(campaign.id, 1), job_id(campaign.id, 2)
    record(ctx, [started(lies, worker_id=worker), started(runs, worker_id=worker)])
    say(ctx, worker, [runs, lies], current=runs)
    clock.advance(TIMEOUT_S + ctx.settings.deadline_grace_s + 1)
    sweep(ctx, Memory(), may_condemn=False)
    assert counters(ctx, campaign) == {"failed": 1, "running": 1}
    assert job(ctx, campaign).status == "running"
    clock.advance(RESULT_WAIT_S)
    sweep(ctx, Memory(), may_condemn=False)
    assert counters(ctx, campaign) == {"failed": 2}


def test_jobs_of_workers_that_are_silent_all_at_once_go_back_and_are_not_late(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register
) -> None:
    workers = [register(f"pi-{number}", incarnation=INCARNATION) for number in range(OUTAGE_MIN)]
    campaign = submit(jobs=OUTAGE_MIN, timeout_s=TIMEOUT_S).campaign
    record(ctx, [started(job_id(campaign.id, number), worker_id=worker) for number, worker in enumerate(workers, start=1)])
    memory = Memory()
    pass_time(ctx.registry.redis, ctx.registry.timeout_s + 1)
    clock.advance(TIMEOUT_S + ctx.settings.deadline_grace_s + 1)
    sweep(ctx, memory, may_condemn=True)
    assert counters(ctx, campaign) == {"running": OUTAGE_MIN}, "an outage is waited out"
    clock.advance(ctx.registry.timeout_s + 1)
    sweep(ctx, memory, may_condemn=True)
    assert counters(ctx, campaign) == {"pending": OUTAGE_MIN}


def test_a_worker_that_hangs_and_says_busy_holds_no_queue_timeout_once_its_job_has_ended(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register
) -> None:
    worker = register("pi", incarnation=INCARNATION)
    campaign = submit(jobs=2, timeout_s=TIMEOUT_S, device="pi").campaign
    hangs = job_id(campaign.id, 1)
    record(ctx, [started(hangs, worker_id=worker)])
    for _ in range(8):
        say(ctx, worker, [hangs], current=hangs, stage="fetching")
        sweep(ctx, Memory(), may_condemn=True)
        clock.advance(DAY_S / 4)
    assert events(ctx, campaign, 1) == ["started", "deadline_exceeded"]
    assert events(ctx, campaign, 2) == ["queue_timeout"]
    assert job(ctx, campaign, 2).error == "no worker took it in time"


def _two_on_a_host(ctx: Context, submit: Submit, register: Register) -> tuple[Submitted, str, str]:
    """Start one job that measures and one that waits for the same host. Return the campaign, the waiting worker and its job."""
    first, second = register("first", ip_address="10.0.0.7", incarnation="f"), register("second", ip_address="10.0.0.7", incarnation="s")
    made = submit(jobs=2, timeout_s=TIMEOUT_S)
    measures, waits = job_id(made.campaign.id, 1), job_id(made.campaign.id, 2)
    record(ctx, [started(measures, worker_id=first, incarnation="f"), started(waits, worker_id=second, incarnation="s")])
    say(ctx, first, [measures], current=measures, stage="repeat 1: load", incarnation="f")
    say(ctx, second, [waits], current=waits, stage=WAITING_FOR_HOST, incarnation="s")
    return made, second, waits


def test_a_job_whose_host_is_taken_by_nobody_the_table_knows_is_ended_after_a_while_and_says_so(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register
) -> None:
    """A neighbour that was stopped while it measured keeps the lock. Any program that takes the lock has the same effect."""
    made, second, waits = _two_on_a_host(ctx, submit, register)
    clock.advance(TIMEOUT_S + ctx.settings.deadline_grace_s + 1)
    assert sweep(ctx, Memory(), may_condemn=True).jobs_timed_out == 1, "the neighbour's own time is over"
    assert events(ctx, made.campaign, 1) == ["started", "deadline_exceeded"]
    pass_time(ctx.registry.redis, ctx.registry.timeout_s + 1)  # the worker is silent
    while clock.monotonic() < UNKNOWN_HOLDER_WAIT_S - 1_000:
        say(ctx, second, [waits], current=waits, stage=WAITING_FOR_HOST, incarnation="s")
        assert sweep(ctx, Memory(), may_condemn=True).jobs_timed_out == 0
        clock.advance(1_000)
    clock.advance(1_000 + TIMEOUT_S + ctx.settings.deadline_grace_s)
    assert sweep(ctx, Memory(), may_condemn=True).jobs_timed_out == 1
    error = job(ctx, made.campaign, 2).error
    assert error is not None
    assert "waits for another measurement on its host since 2026-03-01 12:00 UTC: end what holds the lock there" in error


def test_a_job_waits_for_its_host_for_a_week_at_most(ctx: Context, clock: FakeClock, submit: Submit, register: Register) -> None:
    """This holds even if its neighbours are very busy."""
    made, _, _ = _two_on_a_host(ctx, submit, register)
    end = clock.monotonic() + HOST_WAIT_S
    week = job(ctx, made.campaign, 1)
    while clock.monotonic() < end:
        assert events(ctx, made.campaign, 2) == ["started"]
        clock.advance(DAY_S / 2)
        again = submit(jobs=1).campaign
        record(ctx, [started(job_id(again.id, 1), worker_id=str(week.worker_id), incarnation="f")])
        sweep(ctx, Memory(), may_condemn=False, may_expire=False)
    clock.advance(DAY_S)
    sweep(ctx, Memory(), may_condemn=False)
    assert events(ctx, made.campaign, 2) == ["started", "deadline_exceeded"]
