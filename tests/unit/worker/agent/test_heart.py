from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from shared.ids import AttemptKey
from worker.activity import Activity, Snapshot
from worker.agent.broker import Beat
from worker.agent.heart import Heart

FIRST, SECOND = ({"measured": [{"capability": "hardware.cpu", "peak_gb_per_s": value}]} for value in (10.0, 20.0))


class Redis:
    """Records the figures of each heartbeat. `knows` is True if this Redis knows the worker."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any] | None] = []
        self.knows = True
        self.unwanted = ""

    def heartbeat(self, worker_id: str, now: Snapshot, held: Sequence[AttemptKey], metrics: dict[str, Any] | None = None) -> Beat:
        self.told.append(metrics)
        return Beat(known=self.knows, unwanted_service=self.unwanted)


class Device:
    figures: dict[str, Any] = FIRST
    read = 0

    def measured(self) -> dict[str, Any]:
        self.read += 1
        return self.figures


@pytest.fixture
def parts() -> tuple[Heart, Redis, Device, Activity]:
    redis, device, activity = Redis(), Device(), Activity()
    heart = Heart(
        broker=redis,  # type: ignore[arg-type]
        activity=activity,
        worker_id="worker-1",
        unanswered=list,
        every_s=10,
        on_cancelled=lambda _job: None,
        on_unknown=lambda: None,
        on_conflict=lambda: None,
        on_back=lambda: None,
        on_quarantine=lambda _quarantined: None,
        measured=device.measured,
    )
    return heart, redis, device, activity


Parts = tuple[Heart, Redis, Device, Activity]


def test_figures_are_told_once_and_again_when_a_job_has_changed_them(parts: Parts) -> None:
    heart, redis, device, activity = parts
    heart.beat()
    heart.beat()
    activity.begin(("job-1", 1))
    device.figures = SECOND
    heart.beat()
    activity.clean_up()
    activity.end()
    heart.beat()
    heart.beat()
    assert redis.told == [FIRST, None, None, SECOND, None]
    assert device.read == 2  # the files are not read at every heartbeat


def test_a_redis_that_has_lost_the_worker_is_told_again(parts: Parts) -> None:
    heart, redis, _, _ = parts
    heart.beat()
    redis.knows = False
    heart.beat()
    redis.knows = True
    heart.beat()
    heart.beat()
    assert redis.told == [FIRST, None, FIRST, None]


def test_a_device_that_was_never_measured_tells_nothing(parts: Parts) -> None:
    heart, redis, device, _ = parts
    device.figures = {}
    heart.beat()
    assert redis.told == [None]


def test_services_are_told_during_a_job_and_when_they_have_ended(parts: Parts) -> None:
    heart, redis, device, activity = parts
    running: list[dict[str, Any]] = []
    heart._services = lambda: list(running)
    heart.beat()
    activity.begin(("job", 1))
    running.append({"id": "job.1", "state": "starting"})
    heart.beat()
    heart.beat()
    running[0] = {"id": "job.1", "state": "healthy"}
    heart.beat()
    running.clear()
    heart.beat()
    heart.beat()
    assert redis.told == [
        FIRST,
        FIRST | {"services": [{"id": "job.1", "state": "starting"}]},
        None,
        FIRST | {"services": [{"id": "job.1", "state": "healthy"}]},
        FIRST | {"services": []},
        None,
    ]
    assert device.read == 1, "the figures are not read during a job"


def test_an_idle_service_that_a_user_has_stopped_is_handed_on(parts: Parts) -> None:
    heart, redis, _, _ = parts
    stopped: list[str] = []
    heart._on_unwanted_service = stopped.append
    heart.beat()
    assert stopped == []
    redis.unwanted = "job.1"
    heart.beat()
    assert stopped == ["job.1"]
