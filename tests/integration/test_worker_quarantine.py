"""Tests that a real worker in quarantine, or with a fault of its own, leaves jobs to others and continues later."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.registry import QuarantineRule, Registry
from tests.integration.worker_process import Fleet, eventually, fleet_at, tiny_job


@pytest.fixture
def fleet(redis_url: str, tmp_path: Path) -> Iterator[Fleet]:
    with fleet_at(redis_url, tmp_path) as made:
        yield made


@pytest.fixture
def registry(redis_url: str) -> Iterator[Registry]:
    made = Registry(redis_url, timeout_s=20)
    yield made
    made.close()


def _quarantine(registry: Registry, worker_id: str) -> None:
    assert registry.faults.add(worker_id, "test", "it was seen to flap", QuarantineRule(1, 600, 3_000)) == 3_000


@pytest.mark.long
def test_a_worker_in_quarantine_takes_nothing_until_it_is_over(fleet: Fleet, registry: Registry, tmp_path: Path) -> None:
    flapping = fleet.start()
    worker_id = fleet.registered(flapping)
    _quarantine(registry, worker_id)
    eventually(lambda: "in quarantine, no job is taken: 1 faults within 600 s, the last: it was seen to flap" in flapping.log(), "it hears")
    first, second = tiny_job(tmp_path, 1), tiny_job(tmp_path, 2)
    fleet.send(first)
    steady = fleet.start(folder=tmp_path / "steady")
    other_id = fleet.registered(steady)
    taken = eventually(lambda: fleet.reported("result", first.job_id) or fleet.reported("hand_back", first.job_id), "it is taken")
    if taken.kind == "hand_back":  # the message was on its way to the first worker, which does not start it
        assert taken.worker_id == worker_id
        fleet.send(tiny_job(tmp_path, 1, attempt=2))
    assert fleet.report("result", first.job_id).worker_id == other_id
    assert steady.end() == 0

    registry.reset(worker_id)
    eventually(lambda: "out of quarantine" in flapping.log(), "it hears")
    fleet.send(second)
    result = fleet.report("result", second.job_id)
    assert (result.worker_id, result.status) == (worker_id, "complete")
    assert flapping.end() == 0


@pytest.mark.long
def test_a_job_that_a_worker_took_before_it_heard_of_its_quarantine_is_handed_back(
    fleet: Fleet, registry: Registry, tmp_path: Path
) -> None:
    worker = fleet.start(FLEETMARK_HEARTBEAT_S="3")
    worker_id = fleet.registered(worker)
    _quarantine(registry, worker_id)
    job = tiny_job(tmp_path)
    fleet.send(job)
    eventually(lambda: "in quarantine" in worker.log(), "it is told by its claim, or by its beat")
    eventually(lambda: fleet.unacknowledged() == 0, "it holds no message")
    if fleet.redis.llen("cpu.onnx") == 0:  # the worker took the job before it knew of the quarantine
        assert fleet.report("hand_back", job.job_id).reason == "the device is in quarantine"
        fleet.send(tiny_job(tmp_path, attempt=2))
    registry.reset(worker_id)
    assert fleet.report("result", job.job_id).worker_id == worker_id
    assert worker.end() == 0


@pytest.mark.long
def test_a_worker_that_fails_by_itself_rests_and_takes_jobs_again(fleet: Fleet, tmp_path: Path) -> None:
    lock = tmp_path / "missing" / "lock"
    worker = fleet.start(FLEETMARK_WORKER_LOCK_FILE=str(lock))
    fleet.registered(worker)
    first, second = tiny_job(tmp_path, 1), tiny_job(tmp_path, 2)
    fleet.send(first)
    failed = fleet.report("result", first.job_id)
    assert (failed.status, failed.error_kind) == ("failed", "worker_error")
    assert "no job is taken for 10 s" in worker.log()
    lock.parent.mkdir()
    fleet.send(second)
    taken = eventually(lambda: fleet.reported("result", second.job_id) or fleet.reported("hand_back", second.job_id), "it is taken")
    if taken.kind == "hand_back":  # the message was already on its way
        assert taken.reason == "the device rests after a failure of its own"
        fleet.send(tiny_job(tmp_path, 2, attempt=2))
    assert fleet.report("result", second.job_id).status == "complete"
    assert worker.end() == 0
