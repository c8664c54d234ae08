"""Tests a worker whose broker goes away and comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.protocol import keys
from tests.integration.worker_process import Fleet, eventually, fleet_at, sleeping_job, tiny_job
from tests.servers import RedisServer, running


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """Yield a Redis that a test may stop. It keeps no data, so it is empty after a restart."""
    with running(lambda folder: RedisServer(folder, append_only=False)) as made:
        yield made


@pytest.fixture
def fleet(server: RedisServer, tmp_path: Path) -> Iterator[Fleet]:
    with fleet_at(server.url, tmp_path) as made:
        yield made


def test_a_worker_waits_for_its_broker_and_starts_when_it_is_there(server: RedisServer, fleet: Fleet, tmp_path: Path) -> None:
    server.stop()
    worker = fleet.start()
    eventually(lambda: "trying again until it answers" in worker.log(), "it says what it waits for")
    server.start()
    fleet.registered(worker)
    job = tiny_job(tmp_path)
    fleet.send(job)
    assert fleet.report("result", job.job_id).status == "complete"


def test_a_worker_that_still_waits_for_its_broker_stops_when_asked(server: RedisServer, fleet: Fleet) -> None:
    server.stop()
    worker = fleet.start()
    eventually(lambda: "trying again" in worker.log(), "it waits")
    assert worker.end() == 0


def test_a_redis_that_lost_its_memory_is_registered_with_again_under_the_same_id(server: RedisServer, fleet: Fleet, tmp_path: Path) -> None:
    worker = fleet.start()
    worker_id = fleet.registered(worker)
    server.stop()
    eventually(lambda: "Redis does not answer" in worker.log(), "the worker notices")
    server.start()
    eventually(lambda: fleet.redis.hexists(keys.WORKERS, worker_id), "it is back under its own id")
    job = tiny_job(tmp_path)
    fleet.send(job)
    assert fleet.report("result", job.job_id).worker_id == worker_id
    assert worker.log().count("Redis does not answer") == 1  # the log says it once, however often the worker tries
    assert worker.end() == 0


def test_measuring_goes_on_while_redis_is_away_and_the_result_arrives(server: RedisServer, fleet: Fleet, tmp_path: Path) -> None:
    worker = fleet.start()
    worker_id = fleet.registered(worker)
    job = sleeping_job(tmp_path, 1, inferences=20)
    fleet.send(job)
    fleet.report("started", job.job_id)
    eventually(lambda: "repeat" in fleet.state(worker_id)["stage"], "it measures")
    server.stop()
    eventually(lambda: worker.spooled() == [f"{job.job_id}.1.json"], "the result is on disk")
    server.start()
    result = fleet.report("result", job.job_id)
    assert (result.status, result.summary.inference.n) == ("complete", 20)
    after = tiny_job(tmp_path, number=2)
    fleet.send(after)
    assert fleet.report("result", after.job_id).status == "complete"
    assert [report.kind for report in fleet.reports if report.job_id == job.job_id].count("started") == 1


def test_an_acknowledgement_that_was_lost_leaves_nothing_booked(server: RedisServer, fleet: Fleet, tmp_path: Path) -> None:
    worker = fleet.start()
    worker_id = fleet.registered(worker)
    fleet.redis.hset(f"unacked:{worker_id}", "tag", "of a job that is done")
    fleet.redis.zadd(f"unacked_index:{worker_id}", {"tag": 1})
    for connection in fleet.redis.client_list():
        if int(connection["id"]) != fleet.redis.client_id():
            fleet.redis.client_kill_filter(_id=connection["id"])
    eventually(lambda: fleet.unacknowledged() == 0 and not fleet.redis.exists(f"unacked_index:{worker_id}"), "it is forgotten")
    job = tiny_job(tmp_path)
    fleet.send(job)
    assert fleet.report("result", job.job_id).status == "complete"
    assert worker.end() == 0


def test_a_worker_that_cannot_say_goodbye_still_ends_well(server: RedisServer, fleet: Fleet) -> None:
    worker = fleet.start()
    fleet.registered(worker)
    server.stop()
    eventually(lambda: "Redis does not answer" in worker.log(), "the worker notices")
    assert worker.end() == 0
    assert "could not say goodbye" in worker.log()
