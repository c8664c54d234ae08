"""Tests that the watch considers results which wait to be recorded, before it ends or restarts a job."""

from __future__ import annotations

import pytest

from orchestrator.operations.context import Context
from orchestrator.watch.backlog import BACKLOG_WAIT_S, Backlog
from shared.capabilities import RESULTS_QUEUE
from shared.clock import FakeClock
from shared.protocol import keys


def takes(ctx: Context, consumer: str) -> None:
    """Record that a consumer looks for messages at this moment."""
    seconds, micros = ctx.registry.redis.time()
    ctx.registry.redis.zadd(keys.CONSUMERS, {consumer: seconds * 1000 + micros / 1000})


def look(ctx: Context, backlog: Backlog) -> tuple[bool, bool]:
    takes(ctx, "second")
    backlog.look(ctx)
    return backlog.recorded, backlog.clear


@pytest.fixture
def backlog(ctx: Context, clock: FakeClock) -> Backlog:
    """Return the backlog of a watch that has seen the queue empty for longer than the timeout."""
    made = Backlog()
    assert look(ctx, made) == (False, False)
    clock.advance(ctx.registry.timeout_s + 1)
    assert look(ctx, made) == (True, True)
    return made


def test_a_result_in_the_batch_of_a_consumer_that_was_killed_waits_too(ctx: Context, clock: FakeClock, backlog: Backlog) -> None:
    """Another consumer works all the time and finds the queue empty. The batch returns to the queue later."""
    ctx.registry.redis.lpush(keys.TAKEN + "first", "the result of the job whose third worker is lost now")
    takes(ctx, "first")
    clock.advance(1)
    assert look(ctx, backlog) == (True, False), "deadlines do not wait for it, as its worker says that it has the job; giving up does"
    ctx.registry.redis.delete(keys.TAKEN + "first")
    clock.advance(1)
    assert look(ctx, backlog) == (True, True)


def test_under_steady_work_nobody_waits_for_ever(ctx: Context, clock: FakeClock, backlog: Backlog) -> None:
    ctx.registry.redis.lpush(RESULTS_QUEUE, "one of many")
    clock.advance(BACKLOG_WAIT_S - 1)
    assert look(ctx, backlog) == (True, False)
    clock.advance(2)
    assert look(ctx, backlog) == (True, True)


def test_when_nobody_records_nothing_is_clear(ctx: Context, clock: FakeClock, backlog: Backlog) -> None:
    ctx.registry.redis.delete(keys.CONSUMERS)
    clock.advance(1)
    backlog.look(ctx)
    assert (backlog.recorded, backlog.clear) == (False, False)
