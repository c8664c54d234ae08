"""Redis or the database away, at the start and during work: 503 with words, and recovery without a restart."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from orchestrator.dispatch.celery_queue import CeleryQueue
from orchestrator.operations.context import Context
from orchestrator.operations.dispatching import top_up
from orchestrator.registry import Registry
from orchestrator.settings import Settings
from orchestrator.store import Store
from orchestrator.store.schema import migrate
from shared.clock import SystemClock
from tests.integration.api.conftest import serving
from tests.servers import PostgresServer, RedisServer, server_folder

DEVICE = {"device_name": "pi", "capabilities": ["cpu.onnx"], "device_info": {"UDID": "u"}}
CAMPAIGN = {"model_url": "https://models.example/m.onnx", "jobs": [{"compute_unit": "cpu.onnx"}]}


@contextlib.contextmanager
def plane(redis_url: str, database_url: str, folder: Path) -> Iterator[Context]:
    settings = Settings(redis_url=redis_url, database_url=database_url, outputs_dir=folder / "outputs", models_dir=folder / "models")
    registry, queue = Registry(redis_url, settings.heartbeat_timeout_s), CeleryQueue(redis_url)
    ctx = Context(settings, Store(database_url), registry, queue, SystemClock())
    yield ctx
    queue.close()
    registry.close()
    ctx.store.close()


def is_unavailable(answer: httpx.Response, who: str) -> bool:
    assert answer.status_code == 503, answer.text
    assert answer.headers["Retry-After"] == "5"
    body = answer.json()
    assert body["error"] == "Unavailable"
    return who in body["detail"]


def eventually(api: httpx.Client, path: str, within_s: float = 15.0) -> httpx.Response:
    """The first answer that is no 503."""
    deadline = time.monotonic() + within_s
    while (answer := api.get(path)).status_code == 503 and time.monotonic() < deadline:
        time.sleep(0.1)
    return answer


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    with server_folder() as folder:
        server = RedisServer(folder)
        yield server
        server.stop()


def test_without_redis_what_needs_it_is_503_and_campaigns_are_still_accepted(
    own_redis: RedisServer, database_url: str, tmp_path: Path
) -> None:
    with plane(own_redis.url, database_url, tmp_path) as ctx, serving(ctx) as api:
        migrate(ctx.store)
        away_at_start = api.get("/api/health")
        assert (away_at_start.status_code, away_at_start.json()["status"]) == (503, "degraded")
        assert away_at_start.json()["redis"]["connected"] is False
        assert away_at_start.json()["database"]["connected"] is True
        calls: list[Callable[[], httpx.Response]] = [
            lambda: api.post("/api/register", json=DEVICE),
            lambda: api.get("/api/workers"),
            lambda: api.get("/api/queue/status"),
            lambda: api.get("/api/monitoring/stats"),
            lambda: api.post("/api/reset"),
        ]
        assert all(is_unavailable(call(), "Redis does not answer") for call in calls)
        accepted = api.post("/api/campaigns", json=CAMPAIGN)
        assert accepted.status_code == 201
        job = f"/api/jobs/{accepted.json()['jobs'][0]['job_id']}"
        assert api.get(job).json()["job"]["status"] == "pending"
        assert 'fleetmark_up{part="redis"} 0.0' in api.get("/metrics").text

        own_redis.start()
        assert eventually(api, "/api/health").json()["status"] == "healthy"
        assert api.post("/api/register", json=DEVICE).json()["action"] == "created"
        top_up(ctx)
        assert api.get("/api/queue/status").json()["capability_queues"]["CPU (ONNX)"] == 1

        own_redis.stop()
        assert is_unavailable(api.get("/api/workers"), "Redis does not answer")
        own_redis.start()
        assert eventually(api, "/api/workers").json()["count"] == 1


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    with server_folder() as folder:
        server = PostgresServer(folder)
        server.start()
        yield server
        server.stop()


def test_without_the_database_what_needs_it_is_503_and_nothing_is_half_written(
    redis_url: str, own_postgres: PostgresServer, tmp_path: Path
) -> None:
    with plane(redis_url, own_postgres.create_database("outage"), tmp_path) as ctx, serving(ctx) as api:
        migrate(ctx.store)
        kept = api.post("/api/campaigns", json=CAMPAIGN).json()["campaign_id"]
        own_postgres.stop()
        health = api.get("/api/health")
        assert (health.status_code, health.json()["database"]["connected"], health.json()["redis"]["connected"]) == (503, False, True)
        calls: list[Callable[[], httpx.Response]] = [
            lambda: api.post("/api/campaigns", json=CAMPAIGN),
            lambda: api.get("/api/campaigns"),
            lambda: api.get(f"/api/campaigns/{kept}"),
            lambda: api.get(f"/api/campaigns/{kept}/results"),
            lambda: api.get("/api/jobs"),
            lambda: api.post(f"/api/jobs/{kept}-job-1/cancel"),
            lambda: api.post("/api/models?name=m.onnx", content=b"bytes"),
        ]
        assert all(is_unavailable(call(), "database") for call in calls)
        assert api.post("/api/register", json=DEVICE).status_code == 200  # workers live in Redis
        assert 'fleetmark_up{part="database"} 0.0' in api.get("/metrics").text

        own_postgres.start()
        assert eventually(api, "/api/health").json()["status"] == "healthy"
        assert [one["campaign_id"] for one in api.get("/api/campaigns").json()["campaigns"]] == [kept]
        assert api.post(f"/api/jobs/{kept}-job-1/cancel").json()["status"] == "cancelled"
        assert api.post("/api/models?name=m.onnx", content=b"bytes").status_code == 201


def test_a_mistake_of_ours_tells_the_caller_an_id_and_nothing_else(redis_url: str, database_url: str, tmp_path: Path) -> None:
    with plane(redis_url, database_url, tmp_path) as ctx, serving(ctx) as api:  # no migration has run: there are no tables
        answer = api.get("/api/campaigns", headers={"X-Request-Id": "find-me"})
        assert answer.status_code in (500, 503)  # PostgreSQL calls a missing table a mistake, SQLite an operational error
        assert answer.json().keys() == {"error", "detail"}
        assert "SELECT" not in answer.text
        assert answer.headers["X-Request-Id"] == "find-me"
