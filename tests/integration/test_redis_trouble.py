"""Tests a Redis that refuses commands (no memory, no disk space, read-only, blocked, other password), and then one that recovers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from orchestrator.consumer.inbox import Inbox
from orchestrator.dispatch.base import Dispatch
from orchestrator.dispatch.celery_queue import CeleryQueue
from orchestrator.registry import Registry
from orchestrator.store.schema import migrate
from shared.celery_app import make_celery_app
from shared.clock import SystemClock
from shared.errors import Unavailable
from shared.protocol.outage import answering
from shared.workers import DeviceInfo, Registration
from tests.integration.api.conftest import serving
from tests.integration.api.test_outages import CAMPAIGN, DEVICE, eventually, is_unavailable, plane
from tests.servers import RedisServer, free_port, server_folder
from tests.small_disk import SmallDisk, small_disk
from tests.unit.worker.results import assignment, result
from worker.activity import Snapshot
from worker.agent.broker import Broker
from worker.agent.login import Login
from worker.agent.outbox import Outbox
from worker.job_log import Journals
from worker.spool import Spool

PATIENCE_S = 30.0


@dataclass
class Place:
    server: RedisServer
    disk: SmallDisk

    def ask(self, *command: str, password: str | None = None) -> object:
        with redis.Redis(port=self.server.port, password=password) as client:
            return client.execute_command(*command)


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """Yield a Redis on a disk that a test may fill. It counts as busy when a script has run for 50 ms."""
    with ExitStack() as stack:
        folder = stack.enter_context(server_folder())
        disk = stack.enter_context(small_disk(folder / "disk", 4))
        server = RedisServer(disk.path, options=("--busy-reply-threshold", "50"))
        server.start()
        stack.callback(lambda: server.stop())
        yield Place(server, disk)


@contextmanager
def out_of_memory(place: Place) -> Iterator[None]:
    place.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    place.ask("CONFIG", "SET", "maxmemory", "1")
    try:
        yield
    finally:
        place.ask("CONFIG", "SET", "maxmemory", "0")


@contextmanager
def out_of_disk(place: Place) -> Iterator[None]:
    place.disk.fill()
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:  # Redis notices the full disk when it writes its log, once a second
        try:
            place.ask("SET", "fleetmark:anything", "x" * 1000)
        except redis.ResponseError:
            break
        time.sleep(0.05)
    try:
        yield
    finally:
        place.disk.free()


@contextmanager
def read_only(place: Place) -> Iterator[None]:
    place.ask("REPLICAOF", "127.0.0.1", str(free_port()))
    try:
        yield
    finally:
        place.ask("REPLICAOF", "NO", "ONE")


@contextmanager
def without_its_master(place: Place) -> Iterator[None]:
    place.ask("CONFIG", "SET", "replica-serve-stale-data", "no")
    try:
        with read_only(place):
            yield
    finally:
        place.ask("CONFIG", "SET", "replica-serve-stale-data", "yes")


@contextmanager
def held_up(place: Place) -> Iterator[None]:
    def run() -> None:
        with pytest.raises(redis.ResponseError, match="killed"):
            place.ask("EVAL", "while true do end", "0")

    thread = threading.Thread(target=run)
    thread.start()
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        try:
            place.ask("GET", "anything")
        except redis.ResponseError:
            break
    try:
        yield
    finally:
        place.ask("SCRIPT", "KILL")
        thread.join(PATIENCE_S)


@contextmanager
def another_password(place: Place) -> Iterator[None]:
    place.ask("CONFIG", "SET", "requirepass", "another")
    with redis.Redis(port=place.server.port, password="another") as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    try:
        yield
    finally:
        place.ask("CONFIG", "SET", "requirepass", "", password="another")


Trouble = Callable[[Place], AbstractContextManager[None]]
TROUBLES = [out_of_memory, out_of_disk, read_only, without_its_master, held_up, another_password]


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.__name__)
def test_every_way_to_redis_calls_it_away_and_works_again_by_itself(place: Place, tmp_path: Path, trouble: Trouble) -> None:
    clock = SystemClock()
    registration = Registration(device_name="pi", capabilities=("cpu.onnx",), device_info=DeviceInfo(UDID="u"), incarnation="first")
    with ExitStack() as stack:
        registry = Registry(place.server.url, 30)
        stack.callback(registry.close)
        queue = CeleryQueue(place.server.url)
        stack.callback(queue.close)
        inbox = Inbox(place.server.url)
        stack.callback(inbox.close)
        broker = Broker(Login(place.server.url, None), "first", 30)
        stack.callback(broker.close)
        outbox = Outbox(
            app=make_celery_app(place.server.url),
            login=Login(place.server.url, None),
            worker_id="worker-a",
            broker=broker,
            spool=Spool(tmp_path),
            journals=Journals(tmp_path, clock, "worker-a"),
            uploads=None,
            clock=clock,
        )
        stack.callback(outbox.close)
        worker_id, _ = registry.register(registration)
        ways: list[Callable[[], object]] = [
            registry.ping_ms,
            lambda: registry.heartbeat(worker_id),
            lambda: registry.monitor.same_memory(),
            lambda: queue.publish([Dispatch(assignment(), "cpu.onnx", 5)]),
            lambda: broker.heartbeat(worker_id, Snapshot(), []),
            lambda: broker.claim("job", 1, worker_id, 60),
            lambda: outbox.deliver(result(), {}),
        ]
        make_room: list[Callable[[], object]] = [  # these calls take something out of a Redis that is full of results
            lambda: inbox.take(10),
            lambda: registry.marks.tombstone(["job"]),
            lambda: registry.marks.answer([(worker_id, "job", 1, "recorded")]),
            lambda: registry.letters.bury("text", "reason"),
            lambda: broker.dead_letter("reason", "body"),
        ]
        ways += make_room
        for way in ways:
            way()
        registry.redis.flushall()
        registry.register(registration)
        with trouble(place):
            for number, way in enumerate(ways):
                goes_on = trouble is out_of_memory and way in make_room
                assert is_away(way) is not goes_on, f"way {number}"
        until = time.monotonic() + PATIENCE_S
        while any(is_away(way) for way in ways):
            assert time.monotonic() < until, "it is still away"
            time.sleep(0.05)


def is_away(way: Callable[[], object]) -> bool:
    try:
        way()
    except Unavailable:
        return True
    return False


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.__name__)
def test_the_api_says_that_redis_is_away_and_goes_on_by_itself(place: Place, tmp_path: Path, trouble: Trouble) -> None:
    with plane(place.server.url, f"sqlite:///{tmp_path / 'fleetmark.db'}", tmp_path) as ctx, serving(ctx) as api:
        migrate(ctx.store)
        assert api.post("/api/register", json=DEVICE).status_code == 200
        with trouble(place):
            assert is_unavailable(api.post("/api/register", json=DEVICE), "Redis does not answer")
            health = api.get("/api/health")
            assert (health.status_code, health.json()["status"], health.json()["redis"]["connected"]) == (503, "degraded", False)
            # the campaign is stored in the database, and the queue gets its jobs later
            assert api.post("/api/campaigns", json=CAMPAIGN).status_code == 201
        assert eventually(api, "/api/health").json()["status"] == "healthy"
        assert api.post("/api/register", json=DEVICE).json()["action"] == "reconnected"


def test_a_wrong_login_is_to_be_corrected_and_not_waited_for(redis_url: str) -> None:
    stranger = redis.Redis.from_url(redis_url.replace("redis://", "redis://nobody:wrong@"))
    with (
        stranger,
        pytest.raises(Unavailable, match=r"invalid username-password pair.*; correct the login in its address"),
        answering("Redis"),
    ):
        stranger.ping()
