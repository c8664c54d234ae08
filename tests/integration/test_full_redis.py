"""Tests a real worker with a Redis at `maxmemory` that evicts nothing: nothing is lost, and the log has two lines about it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from tests.integration.worker_process import Fleet, Worker, eventually, fleet_at, tiny_job

REFUSED, WELL = "Redis refuses what the queue reader needs", "Redis allows the queue reader to work again"


@pytest.fixture
def fleet(redis_url: str, tmp_path: Path) -> Iterator[Fleet]:
    with fleet_at(redis_url, tmp_path) as running:
        yield running
        running.redis.config_set("maxmemory", 0)


def _fill(fleet: Fleet) -> None:
    """Set Redis' memory limit to half of what it uses."""
    fleet.redis.config_set("maxmemory-policy", "noeviction")
    fleet.redis.config_set("maxmemory", int(fleet.redis.info("memory")["used_memory"]) // 2)


def _lines(worker: Worker, words: str) -> int:
    return sum(words in json.loads(line)["message"] for line in worker.log().splitlines())


def test_a_job_that_is_taken_from_a_full_redis_is_not_lost(fleet: Fleet, tmp_path: Path) -> None:
    """A full Redis delivers messages, but refuses to record that they were delivered."""
    worker = fleet.start()
    fleet.registered(worker)
    first, second = tiny_job(tmp_path, 1), tiny_job(tmp_path, 2)
    fleet.send(first)
    assert fleet.report("result", first.job_id).status == "complete"
    fleet.redis.config_set("maxmemory-policy", "noeviction")
    with fleet.redis.pipeline() as pipe:  # both commands run in one step, so that the worker takes the job from a Redis that is full
        fleet.send(second, queue="aside")
        pipe.rename("aside", "cpu.onnx")
        pipe.config_set("maxmemory", 1)
        pipe.execute()
    eventually(lambda: "waits for its claim" in worker.log(), "it has taken the job")
    assert fleet.redis.llen("cpu.onnx") == 0
    fleet.redis.config_set("maxmemory", 0)
    assert fleet.report("result", second.job_id).status == "complete"
    assert "Traceback" not in worker.log()
    assert fleet.letters() == []


def test_a_worker_that_has_to_connect_to_a_full_redis_says_so_once_and_goes_on_when_there_is_room(fleet: Fleet, tmp_path: Path) -> None:
    worker = fleet.start()
    fleet.registered(worker)
    eventually(lambda: fleet.redis.client_list(_type="pubsub"), "the queue reader is connected")
    _fill(fleet)
    for kind in ("NORMAL", "PUBSUB"):
        cast("Any", fleet.redis).execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
    eventually(lambda: _lines(worker, REFUSED), "it says so")
    connections = int(fleet.redis.info("stats")["total_connections_received"])
    eventually(lambda: int(fleet.redis.info("stats")["total_connections_received"]) > connections + 8, "it has tried again")
    assert (_lines(worker, REFUSED), _lines(worker, WELL)) == (1, 0)
    fleet.redis.config_set("maxmemory", 0)
    eventually(lambda: _lines(worker, WELL), "it says that it goes on")
    job = tiny_job(tmp_path)
    fleet.send(job)
    assert fleet.report("result", job.job_id).status == "complete"
    assert (_lines(worker, REFUSED), _lines(worker, WELL)) == (1, 1)
    assert "Traceback" not in worker.log()
    assert worker.end() == 0
