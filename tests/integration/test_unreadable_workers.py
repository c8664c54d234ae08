"""Tests that a registered worker whose record cannot be read keeps its jobs as long as its heartbeats come."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from orchestrator.operations.context import Context
from orchestrator.operations.record import record
from orchestrator.operations.submit import Submitted
from orchestrator.registry import Registry
from orchestrator.watch.memory import Memory
from orchestrator.watch.sweep import sweep
from shared.clock import FakeClock
from shared.ids import job_id
from shared.protocol import keys
from tests.integration.redis_time import pass_time
from tests.integration.reports import started
from tests.integration.test_watch import beat
from tests.integration.test_way_of_a_job import events, job

Submit = Callable[..., Submitted]
Register = Callable[..., str]
STATES = [
    ("status", "draining"),
    ("metrics", "[]"),
    ("metrics", "nonsense"),
    ("progress", "half"),
    ("held", '{"jobs": 1}'),
    ("beats", "many"),
    ("registered_at", "NaN"),
    ("quarantined_until", "soon"),
    ("clock_offset_ms", "some"),
    ("last_seen", "now"),
]


def running_on(ctx: Context, submit: Submit, worker: str) -> Any:
    """Submit a campaign of one job that runs on this worker."""
    campaign = submit(jobs=1).campaign
    name = job_id(campaign.id, 1)
    record(ctx, [started(name, worker_id=worker, incarnation="first-start")])
    beat(ctx, worker, "first-start", held=f'[["{name}", 1]]', current_job=name)
    return campaign


@pytest.mark.parametrize(("field", "value"), STATES)
def test_a_field_that_cannot_be_read_loses_no_job(ctx: Context, submit: Submit, register: Register, field: str, value: str) -> None:
    worker = register(incarnation="first-start")
    campaign = running_on(ctx, submit, worker)
    memory = Memory()
    for _ in range(4):
        beat(ctx, worker, "first-start", held=f'[["{job_id(campaign.id, 1)}", 1]]')
        ctx.registry.redis.hset(keys.worker(worker), field, value)
        assert sweep(ctx, memory, may_condemn=True).jobs_requeued == 0
        ctx.registry.redis.hset(keys.worker(worker), "beats", "9")
    assert events(ctx, campaign) == ["started"]


@pytest.mark.parametrize("said", ["nonsense", '{"device_name": "pi", "capabilities": []}'])
def test_a_registration_that_cannot_be_read_loses_no_job_until_the_heartbeats_stop(
    ctx: Context, submit: Submit, register: Register, caplog: pytest.LogCaptureFixture, said: str
) -> None:
    worker = register(incarnation="first-start")
    campaign = running_on(ctx, submit, worker)
    ctx.registry.redis.hset(keys.WORKERS, worker, said)
    ctx.registry.redis.hset(keys.worker(worker), "said", "another")
    memory = Memory()
    assert sweep(ctx, memory, may_condemn=True).jobs_requeued == 0
    assert f"the record of {worker} cannot be read; it keeps its jobs" in caplog.text
    pass_time(ctx.registry.redis, ctx.registry.timeout_s + 1)
    assert sweep(ctx, memory, may_condemn=True).jobs_requeued == 1
    assert ctx.registry.redis.hget(keys.worker(worker), "status") == "faulty"
    assert events(ctx, campaign) == ["started", "lost"]


def test_a_heartbeat_that_cannot_be_read_loses_the_job_after_a_timeout(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register
) -> None:
    worker = register(incarnation="first-start")
    campaign = running_on(ctx, submit, worker)
    ctx.registry.redis.hset(keys.worker(worker), "last_seen", "nan")
    memory = Memory()
    assert sweep(ctx, memory, may_condemn=True).jobs_requeued == 0
    clock.advance(ctx.registry.timeout_s + 1)
    assert sweep(ctx, memory, may_condemn=True).jobs_requeued == 1
    assert job(ctx, campaign).attempt == 2


def test_a_field_that_cannot_be_read_counts_as_absent(ctx: Context, register: Register) -> None:
    worker = register(incarnation="first-start")
    ctx.registry.redis.hset(keys.worker(worker), mapping={"metrics": "[]", "progress": "half", "status": "draining"})
    [found] = ctx.registry.registered()
    assert (found.metrics, found.progress, found.status, sorted(found.unread)) == ({}, None, "active", ["metrics", "progress", "status"])
    assert ctx.registry.fleets()[0].workers == (), "nobody knows whether a worker with an unknown status takes work"


def test_a_worker_is_seen_whatever_other_threads_do_meanwhile(ctx: Context, register: Register) -> None:
    """All threads of a process share its cached copy of the fleet and its connection to Redis."""
    worker = register()
    registry = Registry(ctx.settings.redis_url, 10.0)

    def look(number: int) -> set[str]:
        ctx.registry.redis.hset(keys.worker(worker), "beats", number)
        if number % 4 == 0:
            ctx.registry.redis.hset(keys.WORKERS, f"odd-{number}", "nonsense")
        return {one.id for one in (registry.registered() if number % 2 else registry.everyone())} | {s.known.id for s in registry.sights()}

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(look, range(100))) == [{worker}] * 100
    registry.close()
