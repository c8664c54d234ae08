"""Tests messages that are sent again: there are as few as possible, and none runs a job that has ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest

from orchestrator.operations.cancel import cancel_job
from orchestrator.operations.context import Context
from orchestrator.operations.record import record
from orchestrator.operations.submit import Submitted
from orchestrator.watch.memory import Memory
from orchestrator.watch.sweep import CLAIMS_EVERY_S, sweep
from shared.clock import FakeClock
from shared.ids import job_id
from shared.protocol import keys, scripts
from tests.integration.redis_time import pass_time
from tests.integration.reports import INCARNATION, WORKER, handed_back, result, started
from tests.integration.test_watch import beat
from tests.integration.test_way_of_a_job import counters, events, job

pytestmark = pytest.mark.both_databases

Submit = Callable[..., Submitted]
Register = Callable[..., str]


def claim(ctx: Context, name: str, attempt: int = 1, worker_id: str = WORKER, incarnation: str = INCARNATION) -> str:
    return str(ctx.registry.redis.eval(scripts.CLAIM, 0, name, attempt, worker_id, incarnation, 60_000, 3_600))


LONG_S = 86_400.0


def test_a_job_that_waits_long_in_its_queue_is_not_copied_into_it(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register
) -> None:
    register()
    submit(jobs=5)
    clock.advance(LONG_S)
    memory = Memory()
    for _ in range(4):
        assert sweep(ctx, memory, may_condemn=False).jobs_sent_again == 0
    assert ctx.queue.depths(["cpu.onnx"]) == {"cpu.onnx": 5}


@pytest.mark.parametrize("priority", [0, 2, 5, 9])
def test_a_message_lost_from_a_busy_queue_is_sent_again_within_seconds_and_no_other_is(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register, priority: int
) -> None:
    register()
    campaign = submit(jobs=4, priority=priority).campaign
    lists = [str(name) for name in ctx.registry.redis.keys("cpu.onnx*")]
    assert len(lists) == 1
    message = str(ctx.registry.redis.rpop(lists[0]))
    assert f'"{job_id(campaign.id, 1)}.1"' in message, "a worker took the first one and died before it was booked"
    memory = Memory()
    assert [sweep(ctx, memory, may_condemn=False).jobs_sent_again for _ in range(2)] == [0, 0], "its message may be on its way"
    clock.advance(2 * ctx.settings.watch_sweep_s + 0.1)
    assert [sweep(ctx, memory, may_condemn=False).jobs_sent_again for _ in range(4)] == [0, 1, 0, 0]
    assert ctx.queue.waiting(["cpu.onnx"]) == {(job_id(campaign.id, number), 1) for number in (1, 2, 3, 4)}
    assert ctx.queue.depths(["cpu.onnx"]) == {"cpu.onnx": 4}
    assert [events(ctx, campaign, number) for number in (1, 2, 3, 4)] == [["sent_again"], [], [], []]


def test_a_job_that_a_living_worker_holds_is_not_sent_again(ctx: Context, clock: FakeClock, submit: Submit, register: Register) -> None:
    worker = register()
    campaign = submit(jobs=3).campaign
    name = job_id(campaign.id, 1)
    ctx.registry.redis.rpop("cpu.onnx\x06\x163")
    beat(ctx, worker, INCARNATION, f'[["{name}", 1]]')
    clock.advance(2 * ctx.settings.watch_sweep_s + 0.1)
    memory = Memory()
    assert [sweep(ctx, memory, may_condemn=False).jobs_sent_again for _ in range(3)] == [0, 0, 0], "it waits for its claim, say"
    beat(ctx, worker, INCARNATION)
    assert [sweep(ctx, memory, may_condemn=False).jobs_sent_again for _ in range(3)] == [0, 1, 0], "it does not hold it any more"


def test_a_copy_of_an_ended_job_cannot_be_claimed(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    campaign = submit(jobs=1).campaign
    name = job_id(campaign.id, 1)
    assert claim(ctx, name) == "claimed"
    record(ctx, [started(name), result(name)])
    assert claim(ctx, name, worker_id="worker-b", incarnation="other") == "cancelled"
    assert ctx.registry.redis.exists(keys.claim(name)) == 0


def test_a_next_attempt_can_be_claimed_while_the_last_ones_claim_is_still_there(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    campaign = submit(jobs=1).campaign
    name = job_id(campaign.id, 1)
    assert claim(ctx, name) == "claimed"
    record(ctx, [started(name), handed_back(name)])
    assert claim(ctx, name, attempt=2, worker_id="worker-b", incarnation="other") == "claimed"
    assert claim(ctx, name, attempt=1, worker_id="worker-c", incarnation="third") == "superseded"


def test_only_who_runs_a_job_can_hand_it_back(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    campaign = submit(jobs=1).campaign
    name = job_id(campaign.id, 1)
    record(ctx, [started(name, worker_id="worker-b", incarnation="took-the-claim-over"), handed_back(name)])
    assert counters(ctx, campaign) == {"running": 1}
    assert events(ctx, campaign) == ["started", "unwanted"]


@pytest.mark.parametrize(("status", "kind"), [("failed", "timeout"), ("failed", "runner_died"), ("cancelled", "cancelled")])
def test_a_failure_of_a_worker_that_lost_the_claim_does_not_end_the_job_of_its_successor(
    ctx: Context, submit: Submit, register: Register, status: Literal["failed", "cancelled"], kind: str
) -> None:
    """The claim of the first worker was taken over before its start was reported.

    The first worker was paused between its claim and its start. The start of the second worker was reported first.
    """
    campaign = submit(jobs=1).campaign
    name = job_id(campaign.id, 1)
    first, second = register("first"), register("second")
    record(ctx, [started(name, worker_id=second, incarnation="successor"), started(name, worker_id=first)])
    [(*_, verdict)] = record(ctx, [result(name, worker_id=first, status=status, error="stood still", error_kind=kind)]).answers
    assert (verdict, counters(ctx, campaign), job(ctx, campaign).attempt) == ("unwanted", {"running": 1}, 1)
    record(ctx, [result(name, worker_id=second).model_copy(update={"incarnation": "successor"})])
    assert counters(ctx, campaign) == {"complete": 1}
    assert events(ctx, campaign) == ["started", "unwanted", "unwanted", "complete"]


def test_a_failure_whose_start_was_never_heard_of_counts(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    campaign = submit(jobs=1).campaign
    record(ctx, [result(job_id(campaign.id, 1), status="failed", error="no such operator", error_kind="model_invalid")])
    assert counters(ctx, campaign) == {"failed": 1}


def test_a_job_handed_back_before_its_start_was_heard_of_goes_out_again(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    campaign = submit(jobs=1).campaign
    name = job_id(campaign.id, 1)
    record(ctx, [handed_back(name)])
    record(ctx, [started(name)])
    back = job(ctx, campaign)
    assert (back.status, back.attempt, back.losses) == ("pending", 2, 0)


def test_a_worker_that_runs_an_ended_job_is_told_again(ctx: Context, submit: Submit, register: Register) -> None:
    worker = register(incarnation="first-start")
    campaign = submit(jobs=2).campaign
    ended, runs = job_id(campaign.id, 1), job_id(campaign.id, 2)
    record(ctx, [started(ended, worker_id=worker)])
    cancel_job(ctx, ended)
    ctx.registry.redis.delete(keys.ended(ended))  # the same happens if Redis is away at that moment
    for held, stopped in ((runs, 0), (ended, 1), (f"campaign-{'0' * 18}-job-1", 1)):
        beat(ctx, worker, "first-start", held=f'[["{held}", 1]]', current_job=held)
        sweep(ctx, Memory(), may_condemn=False)
        assert ctx.registry.redis.exists(keys.ended(held)) == stopped, held


def test_a_cancel_between_the_claim_and_the_start_stops_the_worker_and_its_start_changes_nothing(
    ctx: Context, submit: Submit, register: Register
) -> None:
    worker = register(incarnation=INCARNATION)
    campaign = submit(jobs=1).campaign
    name = job_id(campaign.id, 1)
    assert claim(ctx, name, worker_id=worker) == "claimed"
    cancel_job(ctx, name)
    record(ctx, [started(name, worker_id=worker)])
    assert counters(ctx, campaign) == {"cancelled": 1}
    held = [worker, INCARNATION, "busy", name, f'[["{name}", 1]]', "", "", ""]
    assert ctx.registry.redis.eval(scripts.HEARTBEAT, 0, *held) == ["ok", "busy", "", name], "its next beat tells it to stop"
    [(*_, verdict)] = record(ctx, [result(name, worker_id=worker)]).answers
    assert verdict == "unwanted", "even if it was done by then"
    assert events(ctx, campaign) == ["cancelled", "unwanted", "unwanted"]
    assert claim(ctx, name, worker_id=worker) == "cancelled"


def test_a_cancel_that_redis_was_away_for_stops_a_worker_whose_start_was_never_heard(
    ctx: Context, submit: Submit, register: Register
) -> None:
    worker = register(incarnation=INCARNATION)
    campaign = submit(jobs=1).campaign
    name = job_id(campaign.id, 1)
    cancel_job(ctx, name)
    ctx.registry.redis.delete(keys.ended(name))
    assert claim(ctx, name, worker_id=worker) == "claimed"
    beat(ctx, worker, INCARNATION, held=f'[["{name}", 1]]', current_job=name)
    assert sweep(ctx, Memory(), may_condemn=False).stops_repeated == 1
    held = [worker, INCARNATION, "busy", name, f'[["{name}", 1]]', "", "", ""]
    assert ctx.registry.redis.eval(scripts.HEARTBEAT, 0, *held)[3:] == [name]


def test_a_claim_whose_job_ended_while_redis_could_not_be_told_is_forgotten(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register
) -> None:
    register()
    campaign = submit(jobs=2).campaign
    ended, waits = job_id(campaign.id, 1), job_id(campaign.id, 2)
    cancel_job(ctx, ended)
    # the same happens if the process dies between its write to the table and its write to Redis
    ctx.registry.redis.delete(keys.ended(ended))
    memory = Memory()
    sweep(ctx, memory, may_condemn=False)
    assert [claim(ctx, ended), claim(ctx, waits)] == ["claimed", "claimed"]
    clock.advance(CLAIMS_EVERY_S)
    sweep(ctx, memory, may_condemn=False)
    assert ctx.registry.marks.claimed() == {waits}
    assert claim(ctx, ended) == "cancelled"


def test_a_result_that_comes_after_its_job_has_ended_leaves_no_claim(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    name = job_id(submit(jobs=1).campaign.id, 1)
    record(ctx, [result(name)])
    ctx.registry.redis.delete(keys.ended(name))  # Redis has lost its memory
    assert claim(ctx, name, worker_id="worker-b", incarnation="other") == "claimed"
    record(ctx, [result(name, worker_id="worker-b")])
    assert ctx.registry.marks.claimed() == set()


def test_a_tombstone_of_a_job_that_has_not_ended_holds_it_up_for_one_round(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register
) -> None:
    """The table comes from a backup, or from a standby without the last commits. The worker has already done this attempt, and drops it."""
    register()
    campaign = submit(jobs=1).campaign
    name = job_id(campaign.id, 1)
    ctx.registry.marks.tombstone([name])
    assert claim(ctx, name) == "cancelled"
    ctx.queue.purge(["cpu.onnx"])  # the message is lost, too
    clock.advance(1)
    memory = Memory()
    assert [sweep(ctx, memory, may_condemn=False).jobs_sent_again for _ in range(2)] == [0, 1]
    assert (job(ctx, campaign).status, job(ctx, campaign).attempt) == ("pending", 2)
    assert claim(ctx, name, attempt=2) == "claimed"
    assert events(ctx, campaign) == ["undispatched"]


def test_a_worker_that_stops_a_job_which_was_not_cancelled_gives_it_back(ctx: Context, submit: Submit, register: Register) -> None:
    """The worker saw a tombstone that belongs to a newer table, or one from before the same attempt was sent to it again."""
    worker = register(incarnation="first-start")
    campaign = submit(jobs=1).campaign
    name = job_id(campaign.id, 1)
    stopped = result(name, worker_id=worker, status="cancelled", error="cancelled", error_kind="cancelled")
    [(*_, verdict)] = record(ctx, [started(name, worker_id=worker), stopped]).answers
    assert (verdict, job(ctx, campaign).status, job(ctx, campaign).attempt) == ("unwanted", "pending", 2)
    assert events(ctx, campaign) == ["started", "handed_back"]
    record(ctx, [result(name, worker_id=worker, attempt=2)])
    assert counters(ctx, campaign) == {"complete": 1}


def test_a_job_whose_start_was_not_heard_of_runs_all_the_same_and_nobody_else_hands_it_back(
    ctx: Context, submit: Submit, register: Register
) -> None:
    """The report of a start is sent only once, and here it is lost. A worker that is leaving then declines a copy of the message."""
    worker = register(incarnation="its-start")
    campaign = submit(jobs=1, timeout_s=60).campaign
    name = job_id(campaign.id, 1)
    assert claim(ctx, name, worker_id=worker, incarnation="its-start") == "claimed"
    beat(ctx, worker, "its-start", held=f'[["{name}", 1]]', current_job=name)
    memory = Memory()
    assert [sweep(ctx, memory, may_condemn=False).starts_noted for _ in range(3)] == [0, 1, 0]
    runs = job(ctx, campaign)
    assert (runs.status, runs.attempt, runs.worker_id, runs.incarnation) == ("running", 1, worker, "its-start")
    assert runs.deadline_at is not None
    record(ctx, [handed_back(name), started(name, worker_id=worker, incarnation="its-start")])
    assert (job(ctx, campaign).status, job(ctx, campaign).attempt) == ("running", 1)
    assert events(ctx, campaign) == ["started", "unwanted"]


def test_a_worker_that_reports_a_job_without_a_claim_does_not_run_it(ctx: Context, submit: Submit, register: Register) -> None:
    """The worker is just asking for its claim, and the answer will be that another worker holds it."""
    worker, other = register("pi-0", incarnation="first-start"), register("pi-1", incarnation="second-start")
    campaign = submit(jobs=1).campaign
    name = job_id(campaign.id, 1)
    assert claim(ctx, name, worker_id=other, incarnation="second-start") == "claimed"
    beat(ctx, worker, "first-start", held=f'[["{name}", 1]]', current_job=name)
    memory = Memory()
    assert [sweep(ctx, memory, may_condemn=False).starts_noted for _ in range(3)] == [0, 0, 0]
    assert counters(ctx, campaign) == {"pending": 1}


FORGED = {
    "no number": {"attempt": "abc"},
    "not one that a table holds": {"attempt": "9e99"},
    "no worker": {"attempt": "1"},
    "a worker that nobody knows": {"attempt": "1", "worker": "\xff\xfe", "incarnation": ""},
    "a living worker that does not have it": {"attempt": "1", "worker": "HONEST", "incarnation": "first-start"},
    "a time to come": {"attempt": "1", "worker": "HONEST", "incarnation": "first-start", "at": "9e15"},
}


@pytest.mark.parametrize("fields", FORGED.values(), ids=FORGED)
def test_a_claim_that_no_worker_has_made_holds_up_nobody(ctx: Context, submit: Submit, register: Register, fields: dict[str, str]) -> None:
    honest = register(incarnation="first-start")
    name = job_id(submit(jobs=1).campaign.id, 1)
    for field, value in fields.items():
        ctx.registry.redis.hset(keys.claim(name), field, honest if value == "HONEST" else value)
    assert claim(ctx, name) == "claimed"
    assert 0 < ctx.registry.redis.ttl(keys.claim(name)) <= 3_600


@pytest.mark.parametrize("attempt", ["2", "999999999"])
def test_a_claim_of_an_attempt_that_was_never_issued_holds_a_job_up_for_one_round(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register, attempt: str
) -> None:
    """The claim is forged, or the table comes from a backup."""
    honest = register(incarnation="first-start")
    name = job_id(submit(jobs=1).campaign.id, 1)
    ctx.registry.redis.hset(keys.claim(name), mapping={"attempt": attempt, "worker": honest, "incarnation": "first-start"})
    assert claim(ctx, name) == "superseded"
    ctx.queue.purge(["cpu.onnx"])  # the message is lost, too
    clock.advance(1)
    memory = Memory()
    assert [sweep(ctx, memory, may_condemn=False).jobs_sent_again for _ in range(2)] == [0, 1]
    assert claim(ctx, name) == "claimed"


def test_a_claim_of_the_next_attempt_outlives_a_copy_of_the_last_one_that_is_sent_again(
    ctx: Context, submit: Submit, register: Register
) -> None:
    """The watch has read the table just before the next attempt was issued and claimed."""
    worker = register(incarnation="first-start")
    name = job_id(submit(jobs=1).campaign.id, 1)
    assert claim(ctx, name, attempt=2, worker_id=worker, incarnation="first-start") == "claimed"
    for _ in range(2):  # this is tried before the first heartbeat and long after it
        ctx.registry.marks.doubt_claims({name: 1})
        assert claim(ctx, name, attempt=2) == "held"
        pass_time(ctx.registry.redis, ctx.registry.timeout_s + 1)
        beat(ctx, worker, "first-start", held=f'[["{name}", 2]]', current_job=name)
    pass_time(ctx.registry.redis, ctx.registry.timeout_s + 1)
    ctx.registry.marks.doubt_claims({name: 1})
    assert ctx.registry.redis.exists(keys.claim(name)) == 0, "its worker fell silent"


def test_a_worker_that_was_removed_holds_nothing_up(ctx: Context, submit: Submit, register: Register) -> None:
    """This holds whatever the worker has written about itself before."""
    worker = register(incarnation="first-start")
    name = job_id(submit(jobs=1).campaign.id, 1)
    assert claim(ctx, name, worker_id=worker, incarnation="first-start") == "claimed"
    ctx.registry.redis.hset(keys.worker(worker), "last_seen", "9e15")
    assert claim(ctx, name) == "held"
    ctx.registry.remove(worker)
    assert claim(ctx, name) == "claimed"


def test_only_a_worker_itself_says_what_it_works_on(ctx: Context, submit: Submit, register: Register) -> None:
    """Another caller sets its status or sends a heartbeat in its name, or the worker registers again because its login was lost."""
    worker = register(incarnation="first-start")
    name = job_id(submit(jobs=1).campaign.id, 1)
    assert claim(ctx, name, worker_id=worker, incarnation="first-start") == "claimed"
    record(ctx, [started(name, worker_id=worker, incarnation="first-start")])
    beat(ctx, worker, "first-start", held=f'[["{name}", 1]]', current_job=name)
    pass_time(ctx.registry.redis, ctx.registry.timeout_s + 1)  # the claim is old by now
    memory = Memory()
    for said in (lambda: ctx.registry.reset(worker), lambda: ctx.registry.heartbeat(worker), lambda: register(incarnation="first-start")):
        said()
        assert ctx.registry.get(worker).held == ((name, 1),)
        assert claim(ctx, name) == "held"
        assert sweep(ctx, memory, may_condemn=True).attempts_unheld == 0
    register(incarnation="second-start", previous_incarnation="first-start")
    assert claim(ctx, name) == "claimed"


def test_invented_claims_go_and_leave_no_tombstones(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    name = job_id(submit(jobs=1).campaign.id, 1)
    assert claim(ctx, name) == "claimed"
    client = ctx.registry.redis
    with client.pipeline(transaction=False) as pipeline:
        for number in range(12_000):
            pipeline.hset(keys.claim(job_id("campaign-" + "0" * 18, number + 1)), "a", "b")
        pipeline.execute()
    for invented in (f"campaign-{'0' * 18}-job-1", "not-a-job\x00\n", b"fleetmark:claim:\xff", f"campaign-{'z' * 100_000}-job-1"):
        key = invented if isinstance(invented, bytes) else keys.claim(invented)
        client.hset(key, "attempt", "1")
        client.expire(key, 10_000)
    client.hset(keys.claim(f"campaign-{'1' * 18}-job-1"), "attempt", "1")
    client.expire(keys.claim(f"campaign-{'1' * 18}-job-1"), 10**9)
    sweep(ctx, Memory(), may_condemn=False)
    assert client.keys("fleetmark:claim:*") == [keys.claim(name)]
    assert client.keys("fleetmark:ended:*") == []


def test_what_a_silent_worker_had_taken_is_not_kept_for_it(ctx: Context, register: Register) -> None:
    worker = register()
    ctx.registry.redis.hset(f"unacked:{worker}", "tag", "a message")
    ctx.registry.redis.zadd(f"unacked_index:{worker}", {"tag": 1.0})
    pass_time(ctx.registry.redis, ctx.registry.timeout_s + 0.1)
    assert sweep(ctx, Memory(), may_condemn=True).faults_found == 1
    assert ctx.registry.redis.keys("unacked*") == []
