"""Tests that a process reads only what has changed in Redis, and that it notices every change, also after its connection broke."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from orchestrator.operations.context import Context
from orchestrator.registry import Registry
from orchestrator.tracking import Script, Tracking
from shared.errors import Unavailable
from shared.protocol import keys
from shared.protocol.logins import password_rule, setuser
from tests.integration.test_watch import beat

Register = Callable[..., str]
READ = Script("local found = {} for i, key in ipairs(ARGV) do found[i] = redis.call('HGET', key, 'field') end return found")


@pytest.fixture
def tracking(redis_url: str) -> Iterator[Tracking]:
    made = Tracking(redis_url)
    yield made
    made.close()


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as made:
        yield made


def changed(tracking: Tracking) -> set[str] | None:
    """Return what has changed since the last call, or None if everything may have changed."""
    with tracking.session():
        names = tracking.look().changed
    return None if names is None else set(names)


def read(tracking: Tracking, *names: str) -> Any:
    with tracking.session():
        return tracking.run(READ, *names, reads=names)


def test_at_first_everything_may_have_changed_and_then_nothing(tracking: Tracking) -> None:
    assert [changed(tracking) for _ in range(3)] == [None, set(), set()]


def test_after_a_while_everything_may_have_changed(tracking: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy may accept client tracking but pass on none of its messages."""
    assert [changed(tracking), changed(tracking)] == [None, set()]
    monkeypatch.setattr("orchestrator.tracking.WHOLE_S", 0.0)
    assert changed(tracking) is None


def test_each_change_of_a_key_that_was_read_is_reported_once(tracking: Tracking, client: redis.Redis) -> None:
    changed(tracking)
    assert read(tracking, "a", "b") == [None, None]
    client.hset("a", "field", "1")
    client.eval("redis.call('HSET', 'b', 'field', '2')", 0)
    client.hset("c", "field", "3")
    assert changed(tracking) == {"a", "b"}
    assert read(tracking, "a") == ["1"]
    client.hset("b", "field", "4")
    assert changed(tracking) == set(), "b was not read again"
    client.delete("a")
    assert changed(tracking) == {"a"}


def test_a_change_before_a_read_is_in_what_was_read(tracking: Tracking, client: redis.Redis) -> None:
    changed(tracking)
    read(tracking, "a", "b")
    client.hset("a", "field", "1")
    client.hset("b", "field", "1")
    assert read(tracking, "a") == ["1"]
    assert changed(tracking) == {"b"}


def test_thousands_of_changes_at_once_are_reported(tracking: Tracking, client: redis.Redis) -> None:
    names = [f"key-{number}" for number in range(5_000)]
    changed(tracking)
    read(tracking, *names)
    with client.pipeline(transaction=False) as pipeline:
        for name in names:
            pipeline.hset(name, "field", "1")
        pipeline.execute()
    assert changed(tracking) == set(names)


@pytest.mark.parametrize("command", ["FLUSHALL", "CLIENT KILL TYPE NORMAL", "SCRIPT FLUSH"])
def test_after_a_loss_everything_may_have_changed(tracking: Tracking, client: redis.Redis, command: str) -> None:
    changed(tracking)
    read(tracking, "a")
    client.execute_command(*command.split())  # type: ignore[no-untyped-call]
    client.hset("a", "field", "1")
    assert changed(tracking) in (None, {"a"})
    assert read(tracking, "a") == ["1"]


def test_an_error_within_a_session_ends_the_connection(tracking: Tracking, client: redis.Redis) -> None:
    """Otherwise an answer that was not read would be taken for the answer to the next command."""
    changed(tracking)
    with pytest.raises(KeyError), tracking.session():
        raise KeyError
    assert changed(tracking) is None


def test_a_login_that_may_not_track_reads_everything_each_time(ctx: Context, register: Register, caplog: pytest.LogCaptureFixture) -> None:
    """Logins of the orchestrator that an earlier version of `fleetmark redis-acl` made have no right to track."""
    worker = register(incarnation="first")
    rules = ["~*", "+@all", "-client|tracking"]
    ctx.registry.redis.execute_command("ACL SETUSER", *setuser("untracked", password_rule("secret"), rules))  # type: ignore[no-untyped-call]
    try:
        registry = Registry(ctx.settings.redis_url.replace("redis://", "redis://untracked:secret@"), 30.0)
        for number in range(3):
            beat(ctx, worker, incarnation="first", current_job=f"job-{number}")
            assert [found.current_job for found in registry.registered()] == [f"job-{number}"]
        assert caplog.text.count("Redis does not say what has changed") == 1
        registry.close()
    finally:
        ctx.registry.redis.acl_deluser("untracked")


def test_only_workers_that_have_changed_are_read_again(ctx: Context, register: Register) -> None:
    first, *_ = [register(f"device-{number}", incarnation="first") for number in range(20)]
    ctx.registry.registered()
    before = _states_read(ctx)
    for _ in range(5):
        ctx.registry.registered()
        ctx.registry.fleets()
    assert _states_read(ctx) == before
    beat(ctx, first, incarnation="first", current_job="job")
    said = _states_read(ctx)
    assert {worker.id: worker.current_job for worker in ctx.registry.registered() if worker.current_job} == {first: "job"}
    assert _states_read(ctx) == said + 1


def _states_read(ctx: Context) -> int:
    return int(ctx.registry.redis.info("commandstats").get("cmdstat_hmget", {}).get("calls", 0))


def test_a_worker_that_says_nothing_more_grows_silent_although_it_does_not_change(ctx: Context, register: Register) -> None:
    register()
    registry = Registry(ctx.settings.redis_url, 30.0)
    first = registry.registered()[0].silent_s
    now = registry._link.time()
    while registry._link.time() < now + 0.02:
        pass
    assert registry.registered()[0].silent_s >= first + 0.02
    registry.timeout_s = 0.01
    assert registry.fleets()[0].workers == ()
    registry.close()


def test_a_restarted_redis_is_read_anew_and_a_redis_that_is_away_is_told(ctx: Context, register: Register) -> None:
    worker = register()
    assert [one.id for one in ctx.registry.registered()] == [worker]
    ctx.registry.redis.client_kill_filter(_type="normal", skipme=True)
    ctx.registry.redis.hdel(keys.WORKERS, worker)
    assert ctx.registry.registered() == []
    gone = Registry("redis://127.0.0.1:1/0", 30.0)
    with pytest.raises(Unavailable):
        gone.registered()
    gone.close()
