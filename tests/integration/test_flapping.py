"""Tests jobs that make workers die, and devices that make jobs fail."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from orchestrator.domain.lifecycle import WORKERS_LOST_LIMIT
from orchestrator.operations.context import Context
from orchestrator.operations.dispatching import top_up
from orchestrator.operations.record import record
from orchestrator.operations.submit import Submitted
from orchestrator.settings import Settings
from orchestrator.store import jobs
from orchestrator.watch.memory import Memory
from orchestrator.watch.sweep import sweep
from shared.clock import FakeClock
from shared.ids import job_id
from shared.protocol import keys, scripts
from tests.integration.api.conftest import serving
from tests.integration.redis_time import pass_time
from tests.integration.reports import result, started
from tests.integration.test_copies import claim
from tests.integration.test_watch import beat
from tests.integration.test_way_of_a_job import counters, events, job

Submit = Callable[..., Submitted]
Register = Callable[..., str]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"quarantine_after": 3, "quarantine_window_s": 600.0, "quarantine_s": 60.0})


def _lose(ctx: Context, clock: FakeClock, worker: str, incarnation: str, name: str) -> int:
    """Let the worker take the job's current attempt and fall silent. Return how many devices this puts into quarantine."""
    with ctx.store.read() as session:
        attempt = jobs.get(session, name).attempt
    beat(ctx, worker, incarnation)
    assert claim(ctx, name, attempt, worker, incarnation) == "claimed"
    record(ctx, [started(name, attempt, worker, incarnation)])
    pass_time(ctx.registry.redis, ctx.registry.timeout_s + 0.1)
    found = sweep(ctx, Memory(), may_condemn=True)
    assert found.faults_found == 1
    clock.advance(60)  # this is longer than any backoff
    return found.workers_quarantined


def test_a_job_that_three_workers_were_lost_to_fails_with_its_history_and_harms_no_fourth(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register
) -> None:
    campaign = submit(jobs=1).campaign
    name = job_id(campaign.id, 1)
    workers = []
    for number in range(WORKERS_LOST_LIMIT):
        assert job(ctx, campaign).status == "pending"
        workers.append(register(f"pi-{number}", incarnation=f"start-{number}"))
        _lose(ctx, clock, workers[-1], f"start-{number}", name)
    poison = job(ctx, campaign)
    assert (poison.status, poison.attempt, poison.losses, poison.error_kind) == ("failed", 3, 3, "lost")
    told = "; ".join(f"attempt {number + 1}: {workers[number]} (pi-{number}) fell silent" for number in range(3))
    assert poison.error == f"3 workers were lost to it: {told}"
    assert events(ctx, campaign) == [*["started", "lost"] * 3, "failed"]
    fourth = register("pi-3", incarnation="start-3")
    assert top_up(ctx) == 0
    for attempt in (1, 2, 3, 4):
        assert claim(ctx, name, attempt, fourth, "start-3") == "cancelled", "copies of its messages may wait anywhere"


def test_the_third_lost_worker_fails_no_job_whose_result_may_still_be_recorded(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register
) -> None:
    made = submit(jobs=2).campaign
    first, second = (job_id(made.id, number) for number in (1, 2))
    for number in range(WORKERS_LOST_LIMIT - 1):
        for name in (first, second):
            _lose(ctx, clock, register(f"pi-{name}-{number}", incarnation="start"), "start", name)
    for name in (first, second):
        worker = register(f"pi-{name}", incarnation="start")
        beat(ctx, worker, "start")
        assert claim(ctx, name, WORKERS_LOST_LIMIT, worker, "start") == "claimed"
        record(ctx, [started(name, WORKERS_LOST_LIMIT, worker, "start")])
    pass_time(ctx.registry.redis, ctx.registry.timeout_s + 0.1)
    for _ in range(3):
        assert sweep(ctx, Memory(), may_condemn=True, may_give_up=False).jobs_given_up == 0
    record(ctx, [result(first, WORKERS_LOST_LIMIT, worker_id=worker)])
    assert sweep(ctx, Memory(), may_condemn=True, may_give_up=True).jobs_given_up == 1
    assert counters(ctx, made) == {"complete": 1, "failed": 1}


@pytest.mark.parametrize("max_attempts", [1, 5])
def test_lost_workers_do_not_count_to_the_attempts_that_a_job_allows(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register, max_attempts: int
) -> None:
    campaign = submit(jobs=1).campaign
    name = job_id(campaign.id, 1)
    ctx.store.transact(lambda session: setattr(jobs.get(session, name), "max_attempts", max_attempts))
    worker = register("pi", incarnation="start")
    _lose(ctx, clock, worker, "start", name)
    assert (job(ctx, campaign).status, job(ctx, campaign).losses, job(ctx, campaign).deaths) == ("pending", 1, 0)
    died = {"status": "failed", "error": "killed by SIGSEGV", "error_kind": "runner_died"}
    for attempt in range(2, 2 + max_attempts):
        assert job(ctx, campaign).status == "pending"
        record(ctx, [result(name, attempt, worker_id=worker, **died)])  # type: ignore[arg-type]  # `died` holds arguments of `result`
    ended = job(ctx, campaign)
    assert (ended.status, ended.deaths, ended.losses) == ("failed", max_attempts, 1)
    assert str(ended.error).startswith(f"{max_attempts} attempts broke down: attempt 1: {worker} (pi) fell silent; ")
    assert str(ended.error).count(f"on {worker}: killed by SIGSEGV") == max_attempts


def test_deaths_in_one_batch_are_all_in_the_history(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    campaign = submit(jobs=1).campaign
    died = {"status": "failed", "error_kind": "runner_died"}
    # `died` holds arguments of `result`
    record(ctx, [result(job_id(campaign.id, 1), n, error=f"signal {n}", **died) for n in (1, 2, 3)])  # type: ignore[arg-type]
    assert job(ctx, campaign).error == (
        "3 attempts broke down: attempt 1 on worker-a: signal 1; attempt 2 on worker-a: signal 2; attempt 3 on worker-a: signal 3"
    )
    assert events(ctx, campaign) == ["died", "died", "died", "failed"]


@pytest.mark.parametrize("kind", ["worker_error", "host_busy"])
def test_a_failure_of_the_device_is_no_answer_and_tried_again_as_often_as_the_job_allows(
    ctx: Context, submit: Submit, register: Register, kind: str
) -> None:
    register()
    campaign = submit(jobs=1).campaign
    name = job_id(campaign.id, 1)
    for attempt in (1, 2):
        record(ctx, [result(name, attempt, status="failed", error="no lock", error_kind=kind)])
        assert (job(ctx, campaign).status, job(ctx, campaign).attempt) == ("pending", attempt + 1)
    record(ctx, [result(name, 3, status="failed", error="no lock", error_kind=kind)])
    ended = job(ctx, campaign)
    assert (ended.status, ended.error_kind) == ("failed", kind)
    assert ended.error == (
        "3 attempts broke down: attempt 1 on worker-a: no lock; attempt 2 on worker-a: no lock; attempt 3 on worker-a: no lock"
    )


def test_a_job_is_not_sent_again_before_its_pause_is_over(ctx: Context, clock: FakeClock, submit: Submit, register: Register) -> None:
    register()
    campaign = submit(jobs=1).campaign
    died = {"status": "failed", "error": "SIGSEGV", "error_kind": "runner_died"}
    record(ctx, [result(job_id(campaign.id, 1), **died)])  # type: ignore[arg-type]  # `died` holds arguments of `result`
    waits = job(ctx, campaign)
    assert waits.not_before is not None
    assert 0.5 <= (waits.not_before - clock.now()).total_seconds() <= 1.0
    clock.advance(0.4)
    assert (top_up(ctx), job(ctx, campaign).dispatched_at) == (0, None)
    clock.advance(0.7)
    assert top_up(ctx) == 1


def test_a_device_that_flaps_is_given_no_work_for_a_while_and_says_so(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register
) -> None:
    worker = register("flapper", incarnation="start")
    campaign = submit(jobs=4).campaign
    names = [job_id(campaign.id, number) for number in range(1, 5)]
    assert [_lose(ctx, clock, worker, "start", name) for name in names[:3]] == [0, 0, 1]
    record_of_it = ctx.registry.get(worker)
    assert record_of_it.quarantine is not None
    assert record_of_it.quarantine.reason == f"3 faults within 600 s, the last: {worker} (flapper) fell silent"
    assert record_of_it.status == "faulty"

    answer = ctx.registry.redis.eval(scripts.HEARTBEAT, 0, worker, "start", "active", "", "[]", "", "", "")
    assert answer == ["ok", "active", record_of_it.quarantine.reason], "it is heard again, and told to take nothing"
    assert claim(ctx, names[3], 1, worker, "start") == "quarantined"
    sweep(ctx, Memory(), may_condemn=True)
    assert ctx.queue.depths(["cpu.onnx"]) == {"cpu.onnx": 0}, "no queue that it alone serves is filled"
    with ctx.store.read() as session:
        lane = jobs.lane_of(session, jobs.get(session, names[3]))
        assert lane.waiting_for == "waiting for a worker with cpu.onnx (flapper in quarantine)"

    other = register("steady", incarnation="start")
    top_up(ctx)
    assert ctx.queue.depths(["cpu.onnx"]) == {"cpu.onnx": 4}
    assert claim(ctx, names[3], 1, other, "start") == "claimed"
    assert counters(ctx, campaign) == {"pending": 4}


def test_a_quarantine_ends_by_itself_the_next_one_lasts_longer_and_a_reset_ends_it_at_once(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register
) -> None:
    worker = register("flapper", incarnation="start")

    def flap() -> float:
        for _ in range(3):
            beat(ctx, worker, "start")
            pass_time(ctx.registry.redis, ctx.registry.timeout_s + 0.1)
            sweep(ctx, Memory(), may_condemn=True)
        beat(ctx, worker, "start")  # its heartbeat has the present time of Redis
        rest = ctx.registry.get(worker).quarantine
        assert rest is not None
        return rest.until - ctx.registry.get(worker).last_seen

    assert 45 < flap() <= 60
    pass_time(ctx.registry.redis, 20)
    assert ctx.registry.get(worker).quarantine is not None
    pass_time(ctx.registry.redis, 41)
    assert ctx.registry.get(worker).quarantine is None
    beat(ctx, worker, "start")
    assert claim(ctx, f"campaign-{'0' * 18}-job-1", 1, worker, "start") == "claimed"
    assert 105 < flap() <= 120
    ctx.registry.reset(worker)
    assert ctx.registry.get(worker).quarantine is None
    assert ctx.registry.get(worker).status == "active"
    assert 45 < flap() <= 60, "what was forgiven is forgotten"


def test_old_faults_and_faults_of_one_job_are_no_flapping(ctx: Context, clock: FakeClock, submit: Submit, register: Register) -> None:
    worker = register("pi", incarnation="start")
    campaign = submit(jobs=2).campaign
    for _ in range(WORKERS_LOST_LIMIT):
        assert _lose(ctx, clock, worker, "start", job_id(campaign.id, 1)) == 0, "the job is poison, not the device"
    assert counters(ctx, campaign) == {"pending": 1, "failed": 1}
    pass_time(ctx.registry.redis, 601)
    assert _lose(ctx, clock, worker, "start", job_id(campaign.id, 2)) == 0
    assert ctx.registry.redis.zcard(keys.faults(worker)) == 1


def test_a_worker_that_crashes_and_comes_back_again_and_again_flaps(ctx: Context, submit: Submit, register: Register) -> None:
    campaign = submit(jobs=3).campaign
    memory = Memory()
    worker = register("pi", incarnation="start-0")
    for number in (1, 2, 3):
        name = job_id(campaign.id, number)
        record(ctx, [started(name, worker_id=worker, incarnation=f"start-{number - 1}")])
        register("pi", incarnation=f"start-{number}", previous_incarnation=f"start-{number - 1}")
        found = [sweep(ctx, memory, may_condemn=True)]
        for _ in range(2):
            beat(ctx, worker, f"start-{number}")
            found.append(sweep(ctx, memory, may_condemn=True))
        assert sum(turn.jobs_requeued for turn in found) == 1
        assert sum(turn.workers_quarantined for turn in found) == (number == 3)
    assert "was started again" in str(ctx.registry.get(worker).quarantine)


def test_everyone_can_see_a_quarantine_and_what_the_watch_did(ctx: Context, clock: FakeClock, submit: Submit, register: Register) -> None:
    worker = register("flapper", incarnation="start")
    campaign = submit(jobs=3).campaign
    for number in (1, 2, 3):
        _lose(ctx, clock, worker, "start", job_id(campaign.id, number))
    with serving(ctx) as api:
        shown = api.get(f"/api/workers/{worker}").json()
        assert shown["status"] == "faulty"
        assert shown["quarantine"]["reason"].startswith("3 faults within 600 s")
        assert shown["quarantine"]["until"].endswith("Z")
        assert _metric(api, "fleetmark_workers_quarantined") == 1
        assert api.put(f"/api/workers/{worker}/reset").status_code == 200
        assert api.get(f"/api/workers/{worker}").json()["quarantine"] is None
        assert _metric(api, "fleetmark_workers_quarantined") == 0


def _metric(api: httpx.Client, name: str) -> float:
    [line] = [line for line in api.get("/metrics").text.splitlines() if line.startswith(f"{name} ")]
    return float(json.loads(line.rpartition(" ")[2]))
