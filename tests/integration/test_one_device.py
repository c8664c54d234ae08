"""Tests campaigns whose jobs all go to one device: which device gets them, and what follows if it is away."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestrator.operations.context import Context
from orchestrator.operations.dispatching import top_up
from orchestrator.operations.record import record
from orchestrator.operations.retry import retry_job
from orchestrator.operations.submit import Submitted, submit_recipe
from orchestrator.store import Store, job_lists, jobs
from orchestrator.store.tables import Campaign, Job
from orchestrator.watch.memory import Memory
from orchestrator.watch.sweep import sweep
from shared.capabilities import worker_queue
from shared.clock import FakeClock
from shared.ids import job_id
from shared.recipes import parse_recipe
from shared.workers import WorkerStatus
from tests.integration.reports import result, started
from tests.integration.test_way_of_a_job import job

pytestmark = pytest.mark.both_databases

Submit = Callable[..., Submitted]
Register = Callable[..., str]
THREADS = [1, 2, 4, 8]


def compare(ctx: Context, **more: object) -> Campaign:
    """Submit a sweep of four cells."""
    recipe = {"model": "https://models.example/a.onnx", "on": ["cpu.onnx"], "sweep": {"options.threads": THREADS}}
    return submit_recipe(ctx, parse_recipe(recipe | more)).campaign


def rows(ctx: Context, campaign: Campaign) -> list[Job]:
    with ctx.store.read() as session:
        found = job_lists.page(session, campaign_id=campaign.id)
        session.expunge_all()
        return found


def queues(ctx: Context, campaign: Campaign) -> set[str]:
    """Return the queues that hold jobs of this campaign."""
    return {one.queue for one in rows(ctx, campaign) if one.queue is not None and one.status == "pending"}


def waits(ctx: Context, campaign: Campaign) -> str:
    with ctx.store.read() as session:
        return jobs.lane_of(session, jobs.get(session, job_id(campaign.id, 1))).waiting_for


def run_all(ctx: Context, campaign: Campaign) -> Counter[str]:
    """Let the workers run all jobs of this campaign, each from its own queue. Return how many jobs each worker has run."""
    ran: Counter[str] = Counter()
    for _ in range(len(THREADS)):
        for one in rows(ctx, campaign):
            if one.status == "pending" and one.queue is not None:
                worker = one.queue.removeprefix("worker.")
                record(ctx, [started(one.id, worker_id=worker), result(one.id, worker_id=worker)])
                ran[worker] += 1
    return ran


def test_a_campaign_that_compares_goes_to_the_device_that_is_free_and_the_next_one_to_another(ctx: Context, register: Register) -> None:
    devices = {register("a"), register("b")}
    first, second = compare(ctx), compare(ctx)
    [one], [other] = queues(ctx, first), queues(ctx, second)
    assert {one, other} == {worker_queue(worker) for worker in devices}
    assert run_all(ctx, first) == {one.removeprefix("worker."): 4}
    assert run_all(ctx, second) == {other.removeprefix("worker."): 4}


def test_a_recipe_that_compares_nothing_goes_to_any_device_and_any_can_be_asked_for(ctx: Context, register: Register) -> None:
    register("a")
    alone, anywhere = compare(ctx, sweep={}), compare(ctx, devices="any")
    assert queues(ctx, alone) == queues(ctx, anywhere) == {"cpu.onnx"}


def test_while_all_devices_are_at_work_the_campaign_waits_for_the_first_that_is_free(
    ctx: Context, submit: Submit, register: Register
) -> None:
    workers = [register(name) for name in ("a", "b")]
    busy = submit(jobs=2).campaign
    for number, worker in enumerate(workers, start=1):
        record(ctx, [started(job_id(busy.id, number), worker_id=worker)])
    campaign = compare(ctx)
    assert queues(ctx, campaign) == set()
    assert waits(ctx, campaign) == "waiting for the first of a and b that is free; it takes all of these jobs"
    record(ctx, [result(job_id(busy.id, 2), worker_id=workers[1])])
    assert queues(ctx, campaign) == {worker_queue(workers[1])}
    assert waits(ctx, campaign) == ""


def test_a_device_that_only_just_gets_a_job_is_not_taken_for_free(ctx: Context, submit: Submit, register: Register) -> None:
    """The job is in the queue, and it is not known yet which of the two devices takes it."""
    workers = [register(name) for name in ("a", "b")]
    submitted = submit(jobs=1).campaign
    campaign = compare(ctx)
    assert queues(ctx, campaign) == set()
    record(ctx, [started(job_id(submitted.id, 1), worker_id=workers[0])])
    assert queues(ctx, campaign) == {worker_queue(workers[1])}


def test_where_every_device_has_more_work_waiting_the_one_with_the_least_takes_the_campaign(
    ctx: Context, submit: Submit, register: Register
) -> None:
    """To wait for a free device could last for ever, because later jobs could go first."""
    workers = [register(name) for name in ("a", "b")]
    for worker, count in zip(workers, (9, 1), strict=True):
        campaign = submit(jobs=count, device=worker).campaign
        record(ctx, [started(job_id(campaign.id, 1), worker_id=worker)])
    submit(jobs=1, device=workers[1])
    assert queues(ctx, compare(ctx, priority=9)) == {worker_queue(workers[1])}


def test_what_the_chosen_device_cannot_take_waits_for_it_and_says_how_to_go_on(ctx: Context, clock: FakeClock, register: Register) -> None:
    register("a")
    campaign = compare(ctx, queue_timeout_s=600)
    [queue] = queues(ctx, campaign)
    worker = queue.removeprefix("worker.")
    ctx.registry.set_status(worker, WorkerStatus.FAULTY)
    register("b")
    sweep(ctx, Memory(), may_condemn=True)
    assert queues(ctx, campaign) == set()
    expected = f"on a ({worker}): it takes all of these jobs; to use another device, stop the campaign and run its recipe again"
    assert expected in waits(ctx, campaign)
    clock.advance(601)
    sweep(ctx, Memory(), may_condemn=True)
    assert {one.status for one in rows(ctx, campaign)} == {"failed"}
    assert expected in (job(ctx, campaign).error or "")


def test_a_chosen_device_that_is_back_goes_on(ctx: Context, register: Register) -> None:
    register("a")
    campaign = compare(ctx)
    [queue] = queues(ctx, campaign)
    worker = queue.removeprefix("worker.")
    ctx.registry.set_status(worker, WorkerStatus.FAULTY)
    register("b")
    sweep(ctx, Memory(), may_condemn=True)
    ctx.registry.heartbeat(worker)
    sweep(ctx, Memory(), may_condemn=True)
    assert run_all(ctx, campaign) == {worker: 4}


def test_a_device_whose_name_is_the_id_of_the_chosen_one_gets_nothing(ctx: Context, register: Register) -> None:
    worker = register("a")
    campaign = compare(ctx)
    ctx.registry.set_status(worker, WorkerStatus.FAULTY)
    register(worker)
    sweep(ctx, Memory(), may_condemn=True)
    assert queues(ctx, campaign) == set()


def test_a_lost_attempt_and_a_retry_go_to_the_chosen_device(ctx: Context, clock: FakeClock, register: Register) -> None:
    register("a")
    campaign = compare(ctx, sweep={"options.threads": [1, 2]})
    [queue] = queues(ctx, campaign)
    worker = queue.removeprefix("worker.")
    register("b")
    first = next(one for one in rows(ctx, campaign) if one.queue == queue)
    record(ctx, [started(first.id, worker_id=worker), result(first.id, 1, "failed", "SIGSEGV", "runner_died", worker)])
    clock.advance(61)
    top_up(ctx)
    assert next(one for one in rows(ctx, campaign) if one.id == first.id).queue == queue
    record(ctx, [started(first.id, 2, worker_id=worker), result(first.id, 2, "failed", "bad", "model_invalid", worker)])
    run_all(ctx, campaign)
    again = retry_job(ctx, first.id).job
    assert queues(ctx, campaign) == {queue}
    assert again.position == 3


def test_one_device_takes_all_compute_units_if_there_is_one_that_can(ctx: Context, register: Register) -> None:
    register("cpu")
    both = register("both", capabilities=("cpu.onnx", "gpu.cuda.onnx"))
    campaign = compare(ctx, on=["cpu.onnx", "gpu.cuda.onnx"])
    assert queues(ctx, campaign) == {worker_queue(both)}
    with ctx.store.read() as session:
        assert {jobs.lane_of(session, one).device for one in rows(ctx, campaign)} == {both}


def test_where_no_device_can_do_everything_as_few_as_possible_share_it(ctx: Context, register: Register) -> None:
    cpus = {register("cpu"), register("other cpu")}
    gpu = register("gpu", capabilities=("gpu.cuda.onnx",))
    campaign = compare(ctx, on=["cpu.onnx", "gpu.cuda.onnx"])
    assert campaign.warnings == [
        "no registered worker can run all jobs (cpu.onnx, gpu.cuda.onnx), so several devices share them, as few as possible; "
        "do not compare results of different devices"
    ]
    with ctx.store.read() as session:
        chosen = {one.compute_unit: jobs.lane_of(session, one).device for one in rows(ctx, campaign)}
    assert chosen["gpu.cuda.onnx"] == gpu
    assert chosen["cpu.onnx"] in cpus


def test_two_that_choose_at_once_choose_one_device(ctx: Context, register: Register) -> None:
    """The campaign is accepted while no worker is there, and then two processes dispatch at once."""
    campaigns = [compare(ctx) for _ in range(4)]
    for name in ("a", "b", "c"):
        register(name)
    stores = [Store(ctx.settings.database_url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda store: top_up(dataclasses.replace(ctx, store=store)), stores))
    for store in stores:
        store.close()
    for campaign in campaigns:
        assert len(run_all(ctx, campaign)) == 1


def test_the_jobs_of_a_sweep_are_sent_in_the_order_of_their_positions(ctx: Context, register: Register) -> None:
    worker = register("a")
    campaign = compare(ctx, sweep={"inferences": list(range(1, 11))})
    sent: list[int | None] = []
    for _ in range(10):
        waiting = [one for one in rows(ctx, campaign) if one.status == "pending" and one.queue is not None]
        first = min(waiting, key=lambda one: one.position or 0)
        record(ctx, [started(first.id, worker_id=worker), result(first.id, worker_id=worker)])
        sent.append(first.position)
    assert sent == list(range(1, 11))
    assert [one.position for one in rows(ctx, campaign)] != sent, "the order is not that of the sweep"
