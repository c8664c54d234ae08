"""Tests workers that are unreachable or stopped, and a stopped Redis. A job may run twice, but one result counts."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.operations.context import Context
from orchestrator.store import jobs
from shared.protocol import keys
from tests.forwarder import Forwarder, forwarder
from tests.integration.control_plane import HEARTBEAT_TIMEOUT_S, TIMEOUT, control_plane, job, submit_jobs, until
from tests.integration.worker_process import Fleet, eventually, fleet_at
from tests.servers import RedisServer, running


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """Yield a Redis that a test may stop. It keeps its data, unless a test asks for one that does not."""
    with running(lambda folder: RedisServer(folder, append_only=getattr(request, "param", True))) as made:
        yield made


@pytest.fixture
def fleet(server: RedisServer, tmp_path: Path) -> Iterator[Fleet]:
    with fleet_at(server.url, tmp_path / "device") as made:
        yield made


@pytest.fixture
def ctx(server: RedisServer, tmp_path: Path) -> Iterator[Context]:
    with control_plane(server.url, tmp_path) as made:
        yield made


@pytest.fixture
def line(server: RedisServer) -> Iterator[Forwarder]:
    with forwarder(server.port) as made:
        yield made


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a model whose inferences take 50 ms each and use no CPU. There are ten warm-ups before them."""
    path = tmp_path / "schedule.json"
    path.write_text(json.dumps({"sleeps_s": [0.05]}))
    return path


def history(ctx: Context, name: str) -> list[str]:
    with ctx.store.read() as session:
        return [event.kind for event in jobs.history(session, name)]


def once_only(ctx: Context, name: str) -> bool:
    """Return True if one attempt was lost, one result counts, and the other result is recorded as unwanted."""
    kinds = history(ctx, name)
    return kinds.count("lost") == kinds.count("complete") == 1 and kinds[-1] == "unwanted"


def measuring(fleet: Fleet, worker_id: str) -> None:
    eventually(lambda: "measuring" in fleet.state(worker_id).get("stage", ""), "it measures")


@pytest.mark.long
def test_a_worker_that_is_cut_off_measures_on_and_its_late_result_is_not_wanted(
    fleet: Fleet, ctx: Context, line: Forwarder, model: Path, tmp_path: Path
) -> None:
    """Its connections stay half open, as behind a firewall that has forgotten them. Only new connections work again."""
    cut_off = fleet.start(FLEETMARK_REDIS_URL=f"redis://127.0.0.1:{line.port}/0", FLEETMARK_HEARTBEAT_TIMEOUT_S=TIMEOUT)
    first = fleet.registered(cut_off)
    (name,) = submit_jobs(ctx, model, inferences=25)
    measuring(fleet, first)
    line.cut()
    other = fleet.start(folder=tmp_path / "other", FLEETMARK_HEARTBEAT_TIMEOUT_S=TIMEOUT)
    second = fleet.registered(other)
    done = until(ctx, name, "complete")
    assert (done.attempt, done.worker_id) == (2, second)
    eventually(lambda: cut_off.spooled() == [f"{name}.1.json"], "it has measured to the end, and keeps what it cannot send")
    line.heal()
    eventually(lambda: cut_off.spooled() == [], "its result is answered")
    assert once_only(ctx, name)
    assert job(ctx, name).worker_id == second
    assert other.end() == 0
    (after,) = submit_jobs(ctx, model, inferences=1)
    assert until(ctx, after, "complete").worker_id == first


@pytest.mark.long
def test_a_worker_that_is_cut_off_and_back_first_has_its_result_recorded_and_the_other_stops(
    fleet: Fleet, ctx: Context, line: Forwarder, model: Path, tmp_path: Path
) -> None:
    cut_off = fleet.start(FLEETMARK_REDIS_URL=f"redis://127.0.0.1:{line.port}/0", FLEETMARK_HEARTBEAT_TIMEOUT_S=TIMEOUT)
    first = fleet.registered(cut_off)
    (name,) = submit_jobs(ctx, model, inferences=80)
    measuring(fleet, first)
    line.cut()
    until(ctx, name, "pending", attempt=2)
    eventually(lambda: cut_off.spooled() == [f"{name}.1.json"], "it has measured to the end")
    second = fleet.registered(fleet.start(folder=tmp_path / "other", FLEETMARK_HEARTBEAT_TIMEOUT_S=TIMEOUT))
    measuring(fleet, second)
    line.heal()
    done = until(ctx, name, "complete")
    assert done.worker_id == first
    eventually(lambda: fleet.state(second)["status"] == "active", "the newer attempt is stopped")
    eventually(lambda: cut_off.spooled() == [], "its result is answered")
    eventually(lambda: once_only(ctx, name), "what the other says of it is not wanted")


@pytest.mark.long
def test_a_worker_that_stood_still_learns_that_its_job_is_done_and_takes_the_next(
    fleet: Fleet, ctx: Context, model: Path, tmp_path: Path
) -> None:
    still = fleet.start(FLEETMARK_HEARTBEAT_TIMEOUT_S=TIMEOUT)
    first = fleet.registered(still)
    (name,) = submit_jobs(ctx, model, inferences=40)
    measuring(fleet, first)
    still.process.send_signal(signal.SIGSTOP)
    for process in still.family():
        process.suspend()
    other = fleet.start(folder=tmp_path / "other", FLEETMARK_HEARTBEAT_TIMEOUT_S=TIMEOUT)
    second = fleet.registered(other)
    assert until(ctx, name, "complete").worker_id == second
    assert fleet.state(first)["status"] == "faulty"
    for process in still.family():
        process.resume()
    still.process.send_signal(signal.SIGCONT)
    eventually(lambda: history(ctx, name)[-1] == "unwanted", "its attempt is stopped, and what it says of it is not wanted")
    eventually(lambda: still.spooled() == [], "nothing is kept")
    assert other.end() == 0
    (after,) = submit_jobs(ctx, model, inferences=1)
    assert until(ctx, after, "complete").worker_id == first


@pytest.mark.long
@pytest.mark.alone
def test_a_redis_that_stands_still_condemns_nobody(fleet: Fleet, ctx: Context, server: RedisServer, model: Path) -> None:
    """The pause is twice the silence that makes a worker faulty. While Redis stands still, all workers are silent."""
    worker = fleet.start(FLEETMARK_HEARTBEAT_TIMEOUT_S=TIMEOUT)
    worker_id = fleet.registered(worker)
    names = submit_jobs(ctx, model, jobs=2, inferences=20)
    measuring(fleet, worker_id)
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    time.sleep(2 * HEARTBEAT_TIMEOUT_S)
    server.process.send_signal(signal.SIGCONT)
    for name in names:
        assert until(ctx, name, "complete").attempt == 1
        assert history(ctx, name) == ["started", "complete"]
    assert ctx.registry.monitor.counters().get("faults_found", 0) == 0
    eventually(lambda: worker.spooled() == [], "every result is answered")


@pytest.mark.parametrize(
    "server", [pytest.param(True, id="with its file", marks=pytest.mark.long), pytest.param(False, id="empty")], indirect=True
)
def test_a_redis_that_is_restarted_at_work_loses_no_job(fleet: Fleet, ctx: Context, server: RedisServer, model: Path) -> None:
    """Redis is killed without a warning while one job runs, others wait in its queue, and results are being sent."""
    worker = fleet.start(FLEETMARK_HEARTBEAT_TIMEOUT_S=TIMEOUT)
    worker_id = fleet.registered(worker)
    names = submit_jobs(ctx, model, jobs=3, inferences=10)
    measuring(fleet, worker_id)
    server.stop(signal.SIGKILL)
    time.sleep(0.5)
    server.start()
    for name in names:
        until(ctx, name, "complete")
        assert history(ctx, name).count("complete") == 1
    eventually(lambda: worker.spooled() == [], "every result is answered")
    eventually(
        lambda: ctx.queue.depths(["cpu.onnx", f"worker.{worker_id}"]) == {"cpu.onnx": 0, f"worker.{worker_id}": 0}, "nothing is left"
    )
    assert fleet.redis.hexists(keys.WORKERS, worker_id)
