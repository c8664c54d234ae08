"""Tests jobs that are compared on one device: they go together in one message, and each of them has a fate of its own."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import cast

import pytest

from orchestrator.operations.context import Context
from orchestrator.operations.record import record
from orchestrator.operations.submit import submit_recipe
from orchestrator.registry import Registry
from orchestrator.store import job_lists, turns
from orchestrator.store.tables import Campaign, Job
from orchestrator.watch.memory import Memory
from orchestrator.watch.sweep import sweep
from shared.capabilities import worker_queue
from shared.clock import FakeClock
from shared.ids import job_id
from shared.jobs import MAX_BLOCK
from shared.protocol import keys, scripts
from shared.protocol.messages import HandBack
from shared.recipes import parse_recipe
from shared.workers import WorkerStatus
from tests.integration.api.conftest import serving
from tests.integration.reports import INCARNATION, result, started
from tests.integration.simulated import Message
from tests.integration.test_way_of_a_job import events

Register = Callable[..., str]
TIMEOUT_S = 100


def compare(ctx: Context, cells: int = 4, **more: object) -> Campaign:
    """Submit a sweep on one device."""
    recipe = {
        "model": "https://models.example/a.onnx",
        "on": ["cpu.onnx"],
        "timeout_s": TIMEOUT_S,
        "sweep": {"options.threads": list(range(1, cells + 1))},
    }
    return submit_recipe(ctx, parse_recipe(recipe | more)).campaign


@pytest.fixture
def worker(register: Register) -> str:
    return register("a", incarnation=INCARNATION, max_block=MAX_BLOCK)


def rows(ctx: Context, campaign: Campaign) -> list[Job]:
    with ctx.store.read() as session:
        found = job_lists.page(session, campaign_id=campaign.id)
        session.expunge_all()
        return found


def messages(ctx: Context, queue: str) -> list[list[str]]:
    """Take every message out of a queue. Return the numbers of the jobs in each, in the order of the messages."""
    found = []
    for name in sorted(cast("list[str]", ctx.registry.redis.keys(f"{queue}*"))):
        while text := cast("str | None", ctx.registry.redis.rpop(name)):
            found.append([one.job_id.rpartition("-")[2] for one in Message(name, text).assignments()])
    return found


def start(ctx: Context, campaign: Campaign, worker: str, numbers: Iterable[str | int], attempt: int = 1) -> None:
    record(ctx, [started(job_id(campaign.id, int(number)), attempt, worker_id=worker) for number in numbers])


def beat(ctx: Context, worker: str, campaign: Campaign, numbers: Iterable[int], attempt: int = 1) -> None:
    """Say as a worker's process does that these jobs take turns. The first is measured now."""
    names = [job_id(campaign.id, number) for number in numbers]
    held = json.dumps([[name, attempt] for name in names])
    others = json.dumps({name: [f"repeat {number} of 6 is next", 0.25] for number, name in enumerate(names[1:], start=2)})
    said = (worker, INCARNATION, "busy", names[0] if names else "", held, "repeat 1 of 6: measuring", "0.1", "", others)
    ctx.registry.redis.eval(scripts.HEARTBEAT, 0, *said)


@pytest.mark.both_databases
def test_the_jobs_of_a_comparison_go_in_one_message_in_their_random_order(ctx: Context, worker: str) -> None:
    campaign = compare(ctx)
    in_order = [str(job.number) for job in sorted(rows(ctx, campaign), key=lambda job: job.position or 0)]
    assert messages(ctx, worker_queue(worker)) == [in_order]
    assert {(job.block, job.block_timeout_s) for job in rows(ctx, campaign)} == {(f"{campaign.id}-job-{in_order[0]}.1", 4 * TIMEOUT_S)}


def test_a_worker_of_an_earlier_version_gets_one_job_at_a_time(ctx: Context, register: Register) -> None:
    old = register("old", incarnation=INCARNATION)
    campaign = compare(ctx)
    assert [len(message) for message in messages(ctx, worker_queue(old))] == [1, 1]
    assert {(job.block, job.block_timeout_s) for job in rows(ctx, campaign)} == {(None, None)}


@pytest.mark.parametrize(("cells", "sizes"), [(2, [2]), (8, [8]), (9, [5, 4]), (15, [8, 7]), (16, [8, 8]), (17, [8, 5, 4]), (40, [8] * 5)])
def test_many_jobs_are_spread_over_messages_so_that_none_is_left_alone(ctx: Context, worker: str, cells: int, sizes: list[int]) -> None:
    campaign = compare(ctx, cells)
    found = []
    while sent := messages(ctx, worker_queue(worker)):
        [message] = sent
        found.append(len(message))
        start(ctx, campaign, worker, message)
    assert found == sizes


def test_no_job_is_sent_together_with_others_if_any_device_may_take_it(ctx: Context, worker: str) -> None:
    compare(ctx, devices="any")
    assert [len(message) for message in messages(ctx, "cpu.onnx")] == [1, 1, 1, 1]


@pytest.mark.parametrize("devices", ["every", ["a", "b"]])
def test_each_of_several_devices_gets_the_whole_comparison_in_a_message_of_its_own(
    ctx: Context, register: Register, devices: str | list[str]
) -> None:
    workers = [register(name, max_block=MAX_BLOCK) for name in ("a", "b")]
    compare(ctx, devices=devices)
    assert [[len(message) for message in messages(ctx, worker_queue(name))] for name in workers] == [[4], [4]]


def test_jobs_of_several_compute_units_take_turns_too(ctx: Context, register: Register) -> None:
    worker = register("a", ("cpu.onnx", "gpu.cuda.onnx"), max_block=MAX_BLOCK)
    campaign = compare(ctx, 2, on=["cpu.onnx", "gpu.cuda.onnx"])
    assert [len(message) for message in messages(ctx, worker_queue(worker))] == [4]
    assert Counter(job.capability for job in rows(ctx, campaign)) == {"cpu.onnx": 2, "gpu.cuda.onnx": 2}


def test_jobs_of_two_campaigns_are_never_in_one_message(ctx: Context, worker: str) -> None:
    first, second = compare(ctx, devices=["a"]), compare(ctx, devices=["a"])
    assert len(messages(ctx, worker_queue(worker))) == 1, "the window is full"
    start(ctx, first, worker, range(1, 5))
    [message] = messages(ctx, worker_queue(worker))
    assert len(message) == 4
    assert {job.dispatched_at is not None for job in rows(ctx, second)} == {True}


def test_the_deadline_of_each_job_leaves_time_for_all_that_take_turns_with_it(ctx: Context, clock: FakeClock, worker: str) -> None:
    campaign = compare(ctx)
    start(ctx, campaign, worker, range(1, 5))
    grace = timedelta(seconds=4 * TIMEOUT_S + ctx.settings.deadline_grace_s)
    assert {job.deadline_at for job in rows(ctx, campaign)} == {clock.now() + grace}


def test_a_watch_that_notes_a_lost_start_notes_that_of_every_job_in_the_message(ctx: Context, clock: FakeClock, worker: str) -> None:
    campaign = compare(ctx)
    for number in range(1, 5):
        claim = (job_id(campaign.id, number), "1", worker, INCARNATION, "20000", "600")
        assert ctx.registry.redis.eval(scripts.CLAIM, 0, *claim) == "claimed"
    beat(ctx, worker, campaign, range(1, 5))
    memory = Memory()
    assert [sweep(ctx, memory, may_condemn=True).starts_noted for _ in range(2)] == [0, 4]
    grace = timedelta(seconds=4 * TIMEOUT_S + ctx.settings.deadline_grace_s)
    assert {(job.status, job.deadline_at) for job in rows(ctx, campaign)} == {("running", clock.now() + grace)}


def test_jobs_between_their_turns_are_not_taken_for_lost(ctx: Context, worker: str) -> None:
    campaign = compare(ctx)
    start(ctx, campaign, worker, range(1, 5))
    memory = Memory()
    for _ in range(6):
        beat(ctx, worker, campaign, range(1, 5))
        assert sweep(ctx, memory, may_condemn=True).attempts_unheld == 0


def test_a_worker_that_dies_loses_its_block_once_and_each_of_its_jobs_is_sent_alone_afterwards(
    ctx: Context, clock: FakeClock, worker: str, register: Register
) -> None:
    campaign = compare(ctx)
    start(ctx, campaign, worker, messages(ctx, worker_queue(worker))[0])
    record(ctx, [result(job_id(campaign.id, 2), worker_id=worker)])
    register("a", incarnation="second-start", previous_incarnation=INCARNATION, max_block=MAX_BLOCK)
    memory = Memory()
    for _ in range(4):
        ctx.registry.redis.eval(scripts.HEARTBEAT, 0, worker, "second-start", "active", "", "[]", "", "", "", "")
        sweep(ctx, memory, may_condemn=True)
    assert {job.number: (job.status, job.losses, job.deaths) for job in rows(ctx, campaign)} == {
        2: ("complete", 0, 0),
        **dict.fromkeys((1, 3, 4), ("pending", 1, 0)),
    }
    faults = ctx.registry.redis.zcard(keys.faults(worker))
    assert faults == 1, "the death of one process is one fault of the device, however many jobs it interrupted"
    clock.advance(60)
    sweep(ctx, memory, may_condemn=True)
    assert [len(message) for message in messages(ctx, worker_queue(worker))] == [1, 1]


def test_a_crash_of_one_job_is_no_death_of_the_others_and_it_is_tried_again_alone(ctx: Context, clock: FakeClock, worker: str) -> None:
    campaign = compare(ctx)
    start(ctx, campaign, worker, messages(ctx, worker_queue(worker))[0])
    died = result(job_id(campaign.id, 3), status="failed", error="killed by SIGSEGV", error_kind="runner_died", worker_id=worker)
    record(ctx, [died, *(result(job_id(campaign.id, number), worker_id=worker) for number in (1, 2, 4))])
    found = {job.number: (job.status, job.losses, job.deaths, job.block_timeout_s) for job in rows(ctx, campaign)}
    assert found == {3: ("pending", 0, 1, None), **dict.fromkeys((1, 2, 4), ("complete", 0, 0, 4 * TIMEOUT_S))}
    clock.advance(60)
    sweep(ctx, Memory(), may_condemn=True)
    assert messages(ctx, worker_queue(worker)) == [["3"]]


def test_a_block_that_its_worker_hands_back_goes_together_again(ctx: Context, clock: FakeClock, worker: str) -> None:
    campaign = compare(ctx)
    [message] = messages(ctx, worker_queue(worker))
    start(ctx, campaign, worker, message)
    back = [
        HandBack(job_id=job_id(campaign.id, int(number)), attempt=1, worker_id=worker, incarnation=INCARNATION, reason="stopping")
        for number in message
    ]
    record(ctx, back)
    assert messages(ctx, worker_queue(worker)) == [message]
    assert {job.block for job in rows(ctx, campaign)} == {f"{campaign.id}-job-{message[0]}.2"}


def test_a_job_that_is_cancelled_before_it_is_sent_is_not_in_the_message(ctx: Context, register: Register) -> None:
    campaign = compare(ctx)
    with serving(ctx) as api:
        assert api.post(f"/api/jobs/{job_id(campaign.id, 2)}/cancel").status_code == 200
    worker = register("a", max_block=MAX_BLOCK)
    sweep(ctx, Memory(), may_condemn=True)
    [message] = messages(ctx, worker_queue(worker))
    assert sorted(message) == ["1", "3", "4"]


def test_the_jobs_of_a_lost_message_are_sent_again_each_alone_and_those_of_one_that_waits_are_not(
    ctx: Context, clock: FakeClock, worker: str
) -> None:
    campaign = compare(ctx)
    memory = Memory()

    def swept() -> int:
        clock.advance(5)
        beat(ctx, worker, campaign, [])
        return sweep(ctx, memory, may_condemn=True).jobs_sent_again

    assert [swept() for _ in range(3)] == [0, 0, 0], "the message waits in the queue"
    assert len(messages(ctx, worker_queue(worker))) == 1
    assert [swept() for _ in range(2)] == [0, 4]
    assert [len(message) for message in messages(ctx, worker_queue(worker))] == [1, 1, 1, 1]
    assert {(job.attempt, job.block) for job in rows(ctx, campaign)} == {(1, None)}
    assert events(ctx, campaign, 3) == ["sent_again"]


@pytest.mark.both_databases
def test_the_table_counts_jobs_and_messages_that_wait(ctx: Context, worker: str) -> None:
    compare(ctx)
    with ctx.store.read() as session:
        assert [(item.jobs, item.messages) for item in turns.waiting(session)] == [(4, 1)]
    ctx.registry.set_status(worker, WorkerStatus.FAULTY)
    sweep(ctx, Memory(), may_condemn=True)
    with ctx.store.read() as session:
        assert turns.waiting(session) == [], "what nobody serves is taken back"


def test_the_stage_of_each_job_is_its_own(ctx: Context, worker: str) -> None:
    campaign = compare(ctx, 3)
    start(ctx, campaign, worker, (1, 2))
    beat(ctx, worker, campaign, (1, 2))
    with serving(ctx) as api:
        shown = [api.get(f"/api/jobs/{job_id(campaign.id, number)}").json()["job"] for number in (1, 2, 3)]
    assert [(one["stage"], one["progress"]) for one in shown] == [
        ("repeat 1 of 6: measuring", 0.1),
        ("repeat 2 of 6 is next", 0.25),
        (None, None),
    ]


def test_a_job_that_ended_while_redis_was_away_is_stopped_between_its_turns(ctx: Context, worker: str) -> None:
    campaign = compare(ctx)
    start(ctx, campaign, worker, range(1, 5))
    with serving(ctx) as api:
        api.post(f"/api/jobs/{job_id(campaign.id, 3)}/cancel")
    ctx.registry.redis.delete(keys.ended(job_id(campaign.id, 3)))
    beat(ctx, worker, campaign, range(1, 5))
    assert sweep(ctx, Memory(), may_condemn=True).stops_repeated == 1
    assert ctx.registry.redis.exists(keys.ended(job_id(campaign.id, 3)))


@pytest.mark.parametrize("others", ["[]", '{"x": 1}', '{"x": [1, 2, 3]}', '{"x": ["a", "b"]}', '{"x": ["\\ud800", 0.1]}', "nonsense"])
def test_stages_that_cannot_be_read_hide_nothing_else(ctx: Context, worker: str, others: str) -> None:
    ctx.registry.redis.hset(keys.worker(worker), mapping={"others": others, "stage": "measuring"})
    fresh = Registry(ctx.settings.redis_url, ctx.settings.heartbeat_timeout_s)
    seen = fresh.get(worker)
    fresh.close()
    assert (seen.stage, seen.others, seen.unread) == ("measuring", {}, ("others",))
