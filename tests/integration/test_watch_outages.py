"""Tests that no worker is marked faulty if all are silent, or because of old data that a stopped watch has kept."""

from __future__ import annotations

import dataclasses
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from orchestrator.dispatch.celery_queue import CeleryQueue
from orchestrator.domain.placement import Fleet
from orchestrator.operations.context import Context
from orchestrator.operations.record import record
from orchestrator.operations.short_form import ShortCampaign
from orchestrator.operations.submit import Submitted, submit_short
from orchestrator.registry import Registry, WorkerRecord
from orchestrator.settings import Settings
from orchestrator.store import Store, jobs
from orchestrator.store.schema import migrate
from orchestrator.watch import Watch
from orchestrator.watch.losses import OUTAGE_MIN
from orchestrator.watch.memory import Memory
from orchestrator.watch.sweep import sweep
from shared.clock import FakeClock, SystemClock
from shared.ids import job_id
from shared.protocol import scripts
from shared.workers import Registration
from tests.integration.redis_time import pass_time
from tests.integration.reports import result, started
from tests.integration.test_consumer import until
from tests.integration.test_watch import beat
from tests.integration.test_way_of_a_job import counters, events, job
from tests.servers import RedisServer

Submit = Callable[..., Submitted]
Register = Callable[..., str]
INCARNATION = "first-start"


def _fleet(ctx: Context, submit: Submit, register: Register, workers: int) -> tuple[Submitted, dict[str, str]]:
    """Register this number of workers, each with a running job. Return the campaign, and the job of each worker."""
    names = [register(f"pi-{number}", incarnation=INCARNATION) for number in range(workers)]
    made = submit(jobs=workers)
    running = {worker: job_id(made.campaign.id, number) for number, worker in enumerate(names, start=1)}
    record(ctx, [started(name, worker_id=worker) for worker, name in running.items()])
    return made, running


def _beat_all(ctx: Context, running: dict[str, str]) -> None:
    for worker, name in running.items():
        beat(ctx, worker, INCARNATION, held=f'[["{name}", 1]]', current_job=name)


def test_many_silent_at_once_are_waited_for_and_when_they_are_heard_again_nothing_was_lost(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register
) -> None:
    made, running = _fleet(ctx, submit, register, OUTAGE_MIN + 1)
    memory = Memory()
    pass_time(ctx.registry.redis, ctx.registry.timeout_s + 1)
    for _ in range(3):
        found = sweep(ctx, memory, may_condemn=True)
        assert (found.faults_found, found.jobs_requeued) == (0, 0)
    _beat_all(ctx, running)
    clock.advance(ctx.registry.timeout_s + 1)
    assert sweep(ctx, memory, may_condemn=True).faults_found == 0
    assert counters(ctx, made.campaign) == {"running": OUTAGE_MIN + 1}


def test_an_outage_that_does_not_end_condemns_everyone_and_puts_nobody_into_quarantine(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register
) -> None:
    made, _ = _fleet(ctx, submit, register, OUTAGE_MIN + 1)
    strict = dataclasses.replace(ctx, settings=ctx.settings.model_copy(update={"quarantine_after": 1}))
    memory = Memory()
    pass_time(ctx.registry.redis, ctx.registry.timeout_s + 1)
    assert sweep(strict, memory, may_condemn=True).outages_waited_out == 1
    clock.advance(ctx.registry.timeout_s + 1)
    found = sweep(strict, memory, may_condemn=True)
    assert (found.faults_found, found.jobs_requeued, found.workers_quarantined) == (OUTAGE_MIN + 1, OUTAGE_MIN + 1, 0)
    assert counters(ctx, made.campaign) == {"pending": OUTAGE_MIN + 1}


def test_workers_that_died_while_redis_was_empty_lose_their_jobs_and_those_that_live_keep_them(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register
) -> None:
    """Redis does not know the dead workers any more. Only the rows of the running jobs still name them."""
    made, running = _fleet(ctx, submit, register, 2)
    watch = Watch(ctx)
    for _ in range(4):
        _beat_all(ctx, running)
        watch.once()
        clock.advance(ctx.registry.timeout_s / 3)
    ctx.registry.redis.flushall()
    dead, living = running
    assert register("pi-1", incarnation=INCARNATION) == living, "its next beat was answered `unknown`"
    for _ in range(3):
        _beat_all(ctx, {living: running[living]})
        turn = watch.once()
        assert turn is not None
        assert turn.jobs_requeued == 0, "everyone gets a full timeout to be heard"
        clock.advance(ctx.registry.timeout_s / 3 + 0.01)
    _beat_all(ctx, {living: running[living]})
    turn = watch.once()
    assert turn is not None
    assert turn.jobs_requeued == 1
    assert events(ctx, made.campaign, 1) == ["started", "lost"]
    assert f"{dead} is not registered any more" in _last_event(ctx, running[dead])
    assert events(ctx, made.campaign, 2) == ["started"]


def _last_event(ctx: Context, name: str) -> str:
    with ctx.store.read() as session:
        return jobs.history(session, name)[-1].detail


class PausingRegistry(Registry):
    """Pauses a watch in the middle of its look, as SIGSTOP or a closed laptop does, and lets it continue much later."""

    def __init__(self, url: str, timeout_s: float, pause: Callable[[], None]) -> None:
        super().__init__(url, timeout_s)
        self._pause: Callable[[], None] | None = pause

    def registered(self) -> list[WorkerRecord]:
        found = super().registered()
        if self._pause is not None:
            pause, self._pause = self._pause, None
            pause()
        return found


@pytest.mark.parametrize("noticed", [True, False])
def test_a_leader_that_stood_still_in_the_middle_of_its_look_condemns_nobody_who_was_heard_of_since(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register, noticed: bool
) -> None:
    made, running = _fleet(ctx, submit, register, 1)
    pass_time(ctx.registry.redis, ctx.registry.timeout_s + 1)

    def pause() -> None:
        _beat_all(ctx, running)
        clock.advance(3_600 if noticed else 0)

    registry = PausingRegistry(ctx.settings.redis_url, ctx.registry.timeout_s, pause)
    found = sweep(dataclasses.replace(ctx, registry=registry), Memory(), may_condemn=True)
    registry.close()
    assert (found.faults_found, found.jobs_requeued) == (0, 0)
    assert counters(ctx, made.campaign) == {"running": 1}
    assert ctx.registry.get(next(iter(running))).status == "active"


class SlowRegistry(Registry):
    """Simulates a Redis that answers each look at the fleet slowly, while workers keep sending heartbeats."""

    def __init__(self, url: str, timeout_s: float, wait: Callable[[], None]) -> None:
        super().__init__(url, timeout_s)
        self._wait = wait

    def registered(self) -> list[WorkerRecord]:
        self._wait()
        return super().registered()

    def fleets(self) -> tuple[Fleet, Fleet]:
        self._wait()
        return super().fleets()


def test_a_sweep_that_takes_longer_than_its_interval_looks_all_the_same(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register
) -> None:
    """A sweep takes 24 s. The timeout is 30 s and the interval is 0.1 s. This is slow, but the watch was not paused."""
    made, running = _fleet(ctx, submit, register, 2)
    submit(unit="gpu.cuda.onnx")  # no device takes this job, so each sweep also looks at the fleet for a place
    dead, living = running
    _beat_all(ctx, running)

    def wait() -> None:
        clock.advance(12)
        pass_time(ctx.registry.redis, 12)
        _beat_all(ctx, {living: running[living]})

    registry = SlowRegistry(ctx.settings.redis_url, ctx.registry.timeout_s, wait)
    watch = Watch(dataclasses.replace(ctx, registry=registry))
    turns = [turn for _ in range(6) if (turn := watch.once()) is not None]
    registry.close()
    assert [turn.faults_found for turn in turns] == [0, 0, 1, 0, 0, 0], "as soon as a new leader may"
    assert ctx.registry.monitor.counters()["deadlines_postponed"] == 0
    assert (events(ctx, made.campaign, 1), events(ctx, made.campaign, 2)) == (["started", "lost"], ["started"])
    assert ctx.registry.get(dead).status == "faulty"


def test_a_watch_that_stood_still_in_the_middle_of_a_sweep_condemns_nobody_for_it(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole machine slept, with its workers and Redis. After that every heartbeat is old."""
    made, running = _fleet(ctx, submit, register, 1)
    watch = Watch(ctx)
    for _ in range(4):
        _beat_all(ctx, running)
        watch.once()
        clock.advance(ctx.registry.timeout_s / 3)
    _beat_all(ctx, running)

    def sleeps(*_: object) -> None:
        clock.advance(3_600)
        pass_time(ctx.registry.redis, 3_600)

    with monkeypatch.context() as patched:
        patched.setattr("orchestrator.watch.sweep.condemn_silent", sleeps)
        watch.once()
    turn = watch.once()
    assert turn is not None
    assert (turn.faults_found, turn.jobs_timed_out) == (0, 0)
    assert ctx.registry.monitor.counters()["deadlines_postponed"] == 1
    assert counters(ctx, made.campaign) == {"running": 1}


@pytest.mark.both_databases
def test_two_watches_that_lead_at_once_lose_each_attempt_once(ctx: Context, clock: FakeClock, submit: Submit, register: Register) -> None:
    """The lead only avoids double work. It is not needed for correctness, because every write of a watch is conditional."""
    made, _ = _fleet(ctx, submit, register, 3)
    waiting = submit(jobs=3).campaign
    late = submit(jobs=2, timeout_s=60).campaign
    record(ctx, [started(job_id(late.id, number), worker_id="worker-gone") for number in (1, 2)])
    ctx.queue.purge(["cpu.onnx"])
    clock.advance(60 + ctx.settings.deadline_grace_s + 1)
    pass_time(ctx.registry.redis, ctx.registry.timeout_s + 1)
    start = threading.Barrier(2)

    def look(memory: Memory) -> int:
        faults = 0
        for _ in range(3):
            start.wait(30)
            found = sweep(ctx, memory, may_condemn=True)
            faults += found.faults_found
        return faults

    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(look, [Memory(), Memory()])) == 3
    for campaign, number in [(made.campaign, 1), (made.campaign, 2), (made.campaign, 3), (late, 1), (late, 2)]:
        assert (job(ctx, campaign, number).attempt, events(ctx, campaign, number)) == (2, ["started", "lost"])
    assert sum(counters(ctx, waiting).values()) == 3
    for campaign in (made.campaign, waiting, late):
        for number in range(1, campaign.total_jobs + 1):
            record(ctx, [result(job_id(campaign.id, number), job(ctx, campaign, number).attempt)])
        assert counters(ctx, campaign) == {"complete": campaign.total_jobs}


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path, append_only=False)
    server.start()
    yield server
    server.stop()


@contextmanager
def _beating(url: str, running: dict[str, str], silent: set[str]) -> Iterator[None]:
    """Run workers that send heartbeats by themselves, except for the silent ones. They wait while Redis does not answer."""
    stop = threading.Event()

    def beat_on(worker: str, name: str) -> None:
        with redis.Redis.from_url(url, socket_timeout=30) as client:
            while not stop.wait(0.1):
                if worker not in silent:
                    _one_beat(client, worker, name)

    threads = [threading.Thread(target=beat_on, args=pair) for pair in running.items()]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(40)


def _one_beat(client: redis.Redis, worker: str, name: str) -> None:
    client.eval(scripts.HEARTBEAT, 0, worker, INCARNATION, "busy", name, f'[["{name}", 1]]', "", "", "")


@pytest.mark.long
@pytest.mark.alone
def test_a_pause_of_the_whole_broker_condemns_nobody(own_redis: RedisServer, tmp_path: Path) -> None:
    """The pause is shorter than the watch waits for Redis, but longer than a worker may be silent.

    No call fails, but all heartbeats are late.
    """
    settings = Settings(
        database_url=f"sqlite:///{tmp_path / 'fleetmark.db'}",
        redis_url=own_redis.url,
        heartbeat_timeout_s=3,
        heartbeat_s=0.1,
        watch_sweep_s=0.2,
    )
    ctx = Context(settings, Store(settings.database_url), Registry(own_redis.url, 3), CeleryQueue(own_redis.url), SystemClock())
    migrate(ctx.store)
    workers = [
        ctx.registry.register(Registration(device_name=name, capabilities=["cpu.onnx"], incarnation=INCARNATION))[0] for name in ("a", "b")
    ]
    body = {"model_url": "https://models.example/a.onnx", "jobs": [{"compute_unit": "cpu.onnx"}] * 2}
    campaign = submit_short(ctx, ShortCampaign.model_validate(body, strict=False)).campaign
    running = {worker: job_id(campaign.id, number) for number, worker in enumerate(workers, start=1)}
    record(ctx, [started(name, worker_id=worker, incarnation=INCARNATION) for worker, name in running.items()])
    silent: set[str] = set()
    stop = threading.Event()
    watch = threading.Thread(target=Watch(ctx).run, args=(stop,))
    with _beating(own_redis.url, running, silent):
        watch.start()
        # wait longer than the time for which a new leader declares no worker faulty
        until(lambda: ctx.registry.monitor.counters().get("sweeps", 0) > 20, 60)
        assert own_redis.process is not None
        own_redis.process.send_signal(signal.SIGSTOP)
        time.sleep(4)
        own_redis.process.send_signal(signal.SIGCONT)
        sweeps = ctx.registry.monitor.counters()["sweeps"]
        until(lambda: ctx.registry.monitor.counters()["sweeps"] > sweeps + 20, 60)
        assert ctx.registry.monitor.counters()["faults_found"] == 0
        assert counters(ctx, campaign) == {"running": 2}
        silent.add(workers[0])  # now one of them really dies
        until(lambda: ctx.registry.monitor.counters()["faults_found"] == 1, 60)
        until(lambda: counters(ctx, campaign) == {"running": 1, "pending": 1}, 60)
        stop.set()
        watch.join(30)
    ctx.queue.close()
    ctx.registry.close()
    ctx.store.close()


def test_a_redis_that_came_back_from_an_older_file_condemns_nobody(own_redis: RedisServer, tmp_path: Path, clock: FakeClock) -> None:
    """Redis came back between two looks, so no call failed. Every heartbeat in it is old, and its epoch key is there."""
    settings = Settings(database_url=f"sqlite:///{tmp_path / 'fleetmark.db'}", redis_url=own_redis.url)
    ctx = Context(settings, Store(settings.database_url), Registry(own_redis.url, 30), CeleryQueue(own_redis.url), clock)
    migrate(ctx.store)
    device = Registration(device_name="pi", capabilities=["cpu.onnx"], incarnation=INCARNATION)
    worker, _ = ctx.registry.register(device)
    body = {"model_url": "https://models.example/a.onnx", "jobs": [{"compute_unit": "cpu.onnx"}]}
    campaign = submit_short(ctx, ShortCampaign.model_validate(body, strict=False)).campaign
    running = {worker: job_id(campaign.id, 1)}
    record(ctx, [started(running[worker], worker_id=worker, incarnation=INCARNATION)])
    watch = Watch(ctx)
    for _ in range(5):
        _beat_all(ctx, running)
        watch.once()
        clock.advance(ctx.registry.timeout_s / 4)
    pass_time(ctx.registry.redis, ctx.registry.timeout_s + 1)
    ctx.registry.redis.hset("fleetmark:monitor", "last_sweep", time.time())
    ctx.registry.redis.save()
    _beat_all(ctx, running)
    own_redis.stop(signal.SIGKILL)
    own_redis.start()
    turn = watch.once()
    assert turn is not None
    assert (turn.faults_found, turn.jobs_requeued) == (0, 0)
    assert ctx.registry.monitor.counters()["memory_losses"] == 2, "when it was new, and now"
    _beat_all(ctx, running)
    clock.advance(ctx.registry.timeout_s / 4)
    turn = watch.once()
    assert turn is not None
    assert turn.memory_losses == 0, "it is known by now"
    assert counters(ctx, campaign) == {"running": 1}
    ctx.queue.close()
    ctx.registry.close()
    ctx.store.close()
