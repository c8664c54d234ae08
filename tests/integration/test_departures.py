"""Tests workers that have left: who sees them, for how long, and which of their data stays."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from orchestrator.operations.context import Context
from orchestrator.operations.record import record
from orchestrator.operations.submit import Submitted
from orchestrator.registry.departures import FAULTY_KEPT_S, FORMER_KEPT_S, GONE_KEPT_S
from orchestrator.watch.memory import Memory
from orchestrator.watch.sweep import sweep
from shared.ids import job_id
from shared.protocol import keys, scripts
from shared.workers import WorkerStatus
from tests.integration.api.conftest import serving
from tests.integration.redis_time import pass_time
from tests.integration.reports import result, started
from tests.integration.test_way_of_a_job import job

Submit = Callable[..., Submitted]
Register = Callable[..., str]


def _look(ctx: Context) -> None:
    sweep(ctx, Memory(), may_condemn=False)


def _left(ctx: Context, worker_id: str) -> None:
    """Register a worker that has left. The watch does not wait for its last reports any more."""
    ctx.registry.remove(worker_id)
    pass_time(ctx.registry.redis, ctx.registry.timeout_s + 1)
    _look(ctx)


def test_a_worker_that_left_is_read_by_nobody_who_looks_for_work_and_is_listed_for_a_day(ctx: Context, register: Register) -> None:
    stays, leaves = register("stays"), register("leaves")
    _left(ctx, leaves)
    ctx.registry.heartbeat(stays)
    redis = ctx.registry.redis
    assert redis.hkeys(keys.WORKERS) == [stays], "so every look at the fleet costs what the living do"
    assert [worker.id for worker in ctx.registry.registered()] == [worker.id for worker in ctx.registry.all()] == [stays]
    assert [worker.known.id for worker in ctx.registry.sights()] == [stays]
    assert [worker.id for worker in ctx.registry.fleets()[0].workers] == [stays]
    assert {worker.id: worker.status for worker in ctx.registry.everyone()} == {stays: "active", leaves: "gone"}
    assert ctx.registry.get(leaves).status is WorkerStatus.GONE
    with serving(ctx) as api:
        assert {one["worker_id"]: one["status"] for one in api.get("/api/workers").json()["workers"]} == {stays: "active", leaves: "gone"}
        assert api.get(f"/api/workers/{leaves}").json()["status"] == "gone"
        assert api.put(f"/api/workers/{leaves}/reset").status_code == 409
        assert 'fleetmark_workers{state="gone"} 1.0' in api.get("/metrics").text
        assert list(api.get("/api/queue/status").json()["worker_queues"]) == [stays]


def test_after_a_day_nothing_of_it_is_left_in_redis_and_its_results_stay(ctx: Context, submit: Submit, register: Register) -> None:
    worker = register("pi")
    campaign = submit(jobs=1).campaign
    record(ctx, [started(job_id(campaign.id, 1), worker_id=worker), result(job_id(campaign.id, 1), worker_id=worker)])
    _left(ctx, worker)
    ctx.registry.redis.delete(keys.answers(worker))
    pass_time(ctx.registry.redis, GONE_KEPT_S - 2 * ctx.registry.timeout_s)
    _look(ctx)
    assert [one.id for one in ctx.registry.everyone()] == [worker]
    pass_time(ctx.registry.redis, 2 * ctx.registry.timeout_s)
    _look(ctx)
    assert ctx.registry.everyone() == []
    named = [key for key in ctx.registry.redis.keys("*") if worker in str(key)]
    assert named == []
    for table in (keys.WORKERS, keys.DEPARTED, keys.IDENTITIES):
        assert ctx.registry.redis.hlen(table) == 0
    assert job(ctx, campaign).worker_id == worker
    assert ctx.registry.entered([worker, "worker-never-seen"]) == {worker}, "a result may still come from it"
    assert register("pi") == worker, "the device comes back under the same id"
    assert ctx.registry.get(worker).status is WorkerStatus.ACTIVE
    assert ctx.registry.redis.zcard(keys.FORMER) == 0


def test_a_device_that_fell_silent_is_looked_for_for_a_week(ctx: Context, register: Register) -> None:
    worker = register()
    pass_time(ctx.registry.redis, ctx.registry.timeout_s + 1)
    assert ctx.registry.condemn(worker)
    pass_time(ctx.registry.redis, FAULTY_KEPT_S - 2 * ctx.registry.timeout_s)
    _look(ctx)
    assert ctx.registry.get(worker).status is WorkerStatus.FAULTY
    pass_time(ctx.registry.redis, 3 * ctx.registry.timeout_s)
    _look(ctx)
    assert ctx.registry.everyone() == []


def test_one_that_comes_back_within_the_day_is_one_worker_again(ctx: Context, register: Register) -> None:
    worker = register("pi")
    _left(ctx, worker)
    assert register("pi", capabilities=("cpu.torch",)) == worker
    assert ctx.registry.redis.hlen(keys.DEPARTED) == 0
    [found] = ctx.registry.everyone()
    assert (found.status, found.registration.capabilities) == (WorkerStatus.ACTIVE, ["cpu.torch"])
    assert ctx.registry.fleets()[0].servers("cpu.torch") == 1


def test_ids_of_workers_that_were_forgotten_are_remembered_no_longer_than_their_results_are_answered(
    ctx: Context, register: Register
) -> None:
    first = register("first")
    _left(ctx, first)
    pass_time(ctx.registry.redis, GONE_KEPT_S)
    _look(ctx)
    ctx.registry.redis.zincrby(keys.FORMER, -1_000 * (FORMER_KEPT_S + 1), first)
    second = register("second")
    _left(ctx, second)
    pass_time(ctx.registry.redis, GONE_KEPT_S)
    _look(ctx)
    assert ctx.registry.redis.zrange(keys.FORMER, 0, -1) == [second]


@pytest.mark.parametrize("said", ["{}", "nonsense", json.dumps({"device_name": "odd", "device_info": 3})])
def test_one_whose_registration_cannot_be_read_is_forgotten_too(ctx: Context, register: Register, said: str) -> None:
    odd = register("odd")
    ctx.registry.remove(odd)
    ctx.registry.redis.hdel(keys.WORKERS, odd)
    ctx.registry.redis.hset(keys.DEPARTED, odd, said)
    pass_time(ctx.registry.redis, GONE_KEPT_S + 1)
    _look(ctx)
    assert ctx.registry.redis.hlen(keys.DEPARTED) == 0


def test_a_registration_is_read_again_when_it_changes_and_only_then(ctx: Context, register: Register) -> None:
    """This also holds for a registration that a worker of an earlier version wrote.

    Such a registration has no digest, so a new process counts as a change.
    """
    worker = register("pi", incarnation="first")
    assert ctx.registry.fleets()[0].servers("cpu.onnx") == 1
    redis = ctx.registry.redis
    before = _reads(ctx)
    for _ in range(5):
        ctx.registry.fleets()
        ctx.registry.all()
    assert _reads(ctx) == before
    kept = json.loads(str(redis.hget(keys.WORKERS, worker)))
    redis.hset(keys.WORKERS, worker, json.dumps(kept | {"capabilities": ["cpu.torch"], "incarnation": "second"}))
    redis.hset(keys.worker(worker), "incarnation", "second")
    assert ctx.registry.fleets()[0].servers("cpu.torch") == 1
    assert ctx.registry.all()[0].registration.capabilities == ["cpu.torch"]
    redis.hdel(keys.worker(worker), "said")
    redis.hset(keys.WORKERS, worker, json.dumps(kept))
    assert ctx.registry.fleets()[0].servers("cpu.onnx") == 1


def _reads(ctx: Context) -> int:
    """Return how often a client has read registrations."""
    stats = ctx.registry.redis.info("commandstats")
    # Scripts use `HMGET` to read states. The statistics count these calls too, so they are subtracted.
    return int(stats.get("cmdstat_hmget", {}).get("calls", 0)) - int(stats.get("cmdstat_evalsha", {}).get("calls", 0))


def test_a_device_without_an_incarnation_can_be_deregistered_by_any_process(ctx: Context, register: Register) -> None:
    """A heartbeat follows the same rule: an empty incarnation is in conflict with no other."""
    plain, named = register("plain", incarnation=""), register("named", incarnation="first")
    deregister = ctx.registry.redis.register_script(scripts.DEREGISTER)
    assert [deregister(args=[worker, "second"]) for worker in (plain, named)] == [1, 0]
    assert ctx.registry.get(plain).status is WorkerStatus.GONE
    assert ctx.registry.get(named).status is not WorkerStatus.GONE
