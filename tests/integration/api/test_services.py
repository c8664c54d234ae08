"""Tests the calls about services: they are listed as heartbeats tell them, and stopping one cancels its job."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from sqlmodel import Session

from orchestrator.operations.context import Context
from orchestrator.store.tables import Job
from shared.jobs import JobStatus
from shared.protocol import keys, scripts

DEVICE = {"device_name": "pi-5", "ip_address": "192.0.2.7", "capabilities": ["service.redis"], "device_info": {"UDID": "0123"}}
RECIPE = {"service": {"type": "redis"}}


@pytest.fixture
def worker(api: httpx.Client) -> str:
    return str(api.post("/api/register", json=DEVICE).json()["worker_id"])


@pytest.fixture
def campaign(api: httpx.Client) -> str:
    return str(api.post("/api/campaigns", json=RECIPE).json()["campaign_id"])


def told(job: str, **changes: Any) -> dict[str, Any]:
    service = {"id": f"{job}.1", "type": "redis", "address": "redis://127.0.0.1:7001", "state": "healthy", "launcher": "process"}
    return service | {"version": "valkey-server 9.1.2", "job": job, "at": 1_767_225_600.0} | changes


def beat(api: httpx.Client, worker: str, services: object) -> None:
    assert api.post(f"/api/workers/{worker}/heartbeat", json={"metrics": {"services": services}}).status_code == 200


def test_services_are_listed_as_their_workers_tell_them_and_gone_when_they_have_ended(
    api: httpx.Client, worker: str, campaign: str
) -> None:
    job = f"{campaign}-job-1"
    beat(api, worker, [told(job)])
    assert api.get("/api/services").json() == {
        "count": 1,
        "services": [
            {
                "service_id": f"{job}.1",
                "type": "redis",
                "address": "redis://127.0.0.1:7001",
                "state": "healthy",
                "launcher": "process",
                "version": "valkey-server 9.1.2",
                "started_at": "2026-01-01T00:00:00.000Z",
                "job_id": job,
                "worker_id": worker,
                "device_name": "pi-5",
            }
        ],
    }
    beat(api, worker, [])
    assert api.get("/api/services").json() == {"count": 0, "services": []}


def test_stopping_a_service_cancels_its_job(api: httpx.Client, worker: str, campaign: str) -> None:
    job = f"{campaign}-job-1"
    beat(api, worker, [told(job)])
    assert api.post(f"/api/services/{job}.1/stop").json() == {
        "service_id": f"{job}.1",
        "job_id": job,
        "status": "stopping",
        "job_cancelled": True,
    }
    assert api.get(f"/api/jobs/{job}").json()["job"]["status"] == "cancelled"


def test_a_service_that_is_idle_between_two_jobs_is_stopped_alone(api: httpx.Client, ctx: Context, worker: str, campaign: str) -> None:
    job = f"{campaign}-job-1"
    said = (worker, "", "", "", "[]", "", "", "")
    beat(api, worker, [told(job, state="idle")])
    assert ctx.registry.redis.eval(scripts.HEARTBEAT, 0, *said) == ["ok", "active", ""]
    assert api.post(f"/api/services/{job}.1/stop").json()["job_cancelled"] is False
    assert api.get(f"/api/jobs/{job}").json()["job"]["status"] == "pending"
    assert ctx.registry.redis.eval(scripts.HEARTBEAT, 0, *said) == ["ok", "active", "", f"service:{job}.1"]


def test_a_service_whose_job_has_ended_since_the_last_heartbeat_is_stopped_alone(
    api: httpx.Client, ctx: Context, worker: str, campaign: str
) -> None:
    job = f"{campaign}-job-1"
    beat(api, worker, [told(job)])

    def complete(session: Session) -> None:
        session.get_one(Job, job).status = JobStatus.COMPLETE

    ctx.store.transact(complete)
    assert api.post(f"/api/services/{job}.1/stop").json()["job_cancelled"] is False
    assert ctx.registry.redis.hget(keys.worker(worker), "unwanted_service") == f"{job}.1"


def test_a_service_whose_job_was_removed_is_stopped_alone(api: httpx.Client, ctx: Context, worker: str, campaign: str) -> None:
    job = f"{campaign}-job-1"
    beat(api, worker, [told(job)])
    assert api.post(f"/api/campaigns/{campaign}/cancel").status_code == 200
    assert api.delete(f"/api/campaigns/{campaign}").status_code == 200
    answer = api.post(f"/api/services/{job}.1/stop")
    assert (answer.status_code, answer.json()["job_cancelled"]) == (200, False)
    assert ctx.registry.redis.hget(keys.worker(worker), "unwanted_service") == f"{job}.1"


def test_a_service_that_nobody_runs_cannot_be_stopped(api: httpx.Client) -> None:
    answer = api.post("/api/services/nothing/stop")
    assert answer.status_code == 404
    assert "no worker runs a service 'nothing'" in answer.json()["detail"]


def test_a_worker_may_tell_anything(api: httpx.Client, worker: str) -> None:
    for nonsense in ("redis", [None, 3, {}, {"id": "x"}, told("", id="y")], {"id": "x"}):
        beat(api, worker, nonsense)
        assert api.get("/api/services").json()["count"] == 0
    beat(api, worker, [told("job", at="yesterday", type=7)])
    (one,) = api.get("/api/services").json()["services"]
    assert (one["started_at"], one["type"]) == (None, "7")
