"""Tests outages of Redis or the database, at the start and later: status 503 with a message, and recovery without a restart."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator.api import make_api
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
    try:
        yield ctx
    finally:
        queue.close()
        registry.close()
        ctx.store.close()


ID, JOB = "campaign-0123456789abcdefgh", "campaign-0123456789abcdefgh-job-1"
TOKEN = "token-000000000000000000"
ARTIFACT = f"/api/jobs/{JOB}/attempts/1/artifacts/samples.npz"
PIECE: dict[str, Any] = {"content": b"x", "headers": {"Digest": "sha-256=" + "A" * 43 + "=", "Content-Range": "bytes 0-0/1"}}
BATCH: dict[str, Any] = {
    "worker_id": "worker-a",
    "states": [{"kind": "started", "job_id": JOB, "attempt": 1, "worker_id": "worker-a", "incarnation": "", "at": 0.0}],
}
STATUS: dict[str, Any] = {"json": {"status": "active"}}

# Each call of the API is listed with a valid request and with the parts that it needs. If one of these parts is away, the answer is 503.
CALLS: dict[tuple[str, str], tuple[str, dict[str, Any], set[str]]] = {
    ("get", "/api/health/workers"): ("/api/health/workers", {}, {"redis"}),
    ("post", "/api/register"): ("/api/register", {"json": DEVICE}, {"redis"}),
    ("get", "/api/workers"): ("/api/workers", {}, {"redis"}),
    ("get", "/api/workers/{worker_id}"): ("/api/workers/worker-a", {}, {"redis"}),
    ("patch", "/api/workers/{worker_id}"): ("/api/workers/worker-a", {"json": {"labels": {"site": "lab"}}}, {"redis"}),
    # it would also need the database if this worker existed
    ("delete", "/api/workers/{worker_id}"): ("/api/workers/worker-a", {}, {"redis"}),
    ("put", "/api/workers/{worker_id}/status"): ("/api/workers/worker-a/status", STATUS, {"redis"}),
    ("post", "/api/workers/{worker_id}/heartbeat"): ("/api/workers/worker-a/heartbeat", {}, {"redis"}),
    ("get", "/api/workers/{worker_id}/health"): ("/api/workers/worker-a/health", {}, {"redis"}),
    # it would also need Redis if this job existed
    ("post", "/api/workers/compatibility"): ("/api/workers/compatibility", {"json": {"job_id": JOB}}, {"database"}),
    ("get", "/api/workers/compatibility/matrix"): ("/api/workers/compatibility/matrix", {}, {"redis"}),
    ("put", "/api/workers/{worker_id}/reset"): ("/api/workers/worker-a/reset", {}, {"redis"}),
    ("post", "/api/campaigns"): ("/api/campaigns", {"json": CAMPAIGN}, {"database"}),
    ("get", "/api/campaigns"): ("/api/campaigns", {}, {"database"}),
    ("get", "/api/campaigns/{campaign_id}"): (f"/api/campaigns/{ID}", {}, {"database"}),
    ("post", "/api/campaigns/{campaign_id}/cancel"): (f"/api/campaigns/{ID}/cancel", {}, {"database"}),
    ("post", "/api/campaigns/{campaign_id}/score"): (f"/api/campaigns/{ID}/score", {}, {"database"}),
    ("get", "/api/campaigns/{campaign_id}/results"): (f"/api/campaigns/{ID}/results", {}, {"database"}),
    ("get", "/api/campaigns/{campaign_id}/comparison"): (f"/api/campaigns/{ID}/comparison", {}, {"database"}),
    ("get", "/api/compare"): (f"/api/compare?baseline={ID}&current={ID}", {}, {"database"}),
    ("patch", "/api/campaigns/{campaign_id}"): (f"/api/campaigns/{ID}", {"json": {"name": "x", "priority": 1}}, {"database"}),
    ("delete", "/api/campaigns/{campaign_id}"): (f"/api/campaigns/{ID}", {}, {"database"}),
    **{
        ("get", f"/api/campaigns/{{campaign_id}}/{page}"): (f"/api/campaigns/{ID}/{page}", {}, {"database"})
        for page in ("artifacts", "report", "report.md", "report.json", "summary", "logs", "logs.tar.gz")
    },
    ("get", "/api/campaigns/{campaign_id}/artifacts/{name}"): (f"/api/campaigns/{ID}/artifacts/report.md", {}, {"database"}),
    ("post", "/api/jobs/batch"): ("/api/jobs/batch", {"json": BATCH}, {"redis"}),  # it would also need the database if this worker existed
    ("get", "/api/jobs"): ("/api/jobs", {}, {"database"}),
    ("get", "/api/jobs/{job_id}"): (f"/api/jobs/{JOB}", {}, {"database"}),
    ("post", "/api/jobs/{job_id}/cancel"): (f"/api/jobs/{JOB}/cancel", {}, {"database"}),
    ("post", "/api/jobs/{job_id}/retry"): (f"/api/jobs/{JOB}/retry", {}, {"database"}),
    ("head", "/api/jobs/{job_id}/attempts/{attempt}/artifacts/{name}"): (ARTIFACT, {}, {"database"}),
    ("put", "/api/jobs/{job_id}/attempts/{attempt}/artifacts/{name}"): (ARTIFACT, PIECE, {"database"}),
    ("post", "/api/models"): ("/api/models?name=m.onnx", {"content": b"bytes"}, {"database"}),
    ("head", "/api/models/{sha256}"): (f"/api/models/{'0' * 64}", {}, {"database"}),
    ("get", "/api/models/{sha256}"): (f"/api/models/{'0' * 64}", {}, {"database"}),
    ("get", "/api/figures"): ("/api/figures", {}, {"database"}),
    ("get", "/api/services"): ("/api/services", {}, {"redis"}),
    ("post", "/api/services/{service_id}/stop"): (f"/api/services/{JOB}.1/stop", {}, {"redis"}),
    ("get", "/api/queue/status"): ("/api/queue/status", {}, {"redis"}),
    ("get", "/api/queue/dead-letters"): ("/api/queue/dead-letters", {}, {"redis"}),
    ("get", "/api/monitoring/stats"): ("/api/monitoring/stats", {}, {"redis"}),
    ("post", "/api/prune"): ("/api/prune", {"json": {"older_than_s": 86_400}}, {"database"}),
    ("post", "/api/reset"): ("/api/reset", {}, {"redis", "database"}),
    # This asks for a worker's token, which cannot be made before there is an administrator's token. So no token is made, and the other
    # calls still need none.
    ("post", "/api/tokens"): ("/api/tokens", {"json": {"name": "pi", "role": "worker"}}, {"database"}),
    ("get", "/api/tokens"): ("/api/tokens", {}, {"database"}),
    ("get", "/api/tokens/{token_id}"): (f"/api/tokens/{TOKEN}", {}, {"database"}),
    ("delete", "/api/tokens/{token_id}"): (f"/api/tokens/{TOKEN}", {}, {"database"}),
    ("get", "/api/tokens/current"): ("/api/tokens/current", {}, set()),
    ("get", "/api/results/files"): ("/api/results/files", {}, set()),
    ("get", "/api/results/download/{filename}"): ("/api/results/download/no.csv", {}, set()),
    ("get", "/api/recipes"): ("/api/recipes", {}, set()),
    ("post", "/api/recipes/validate"): ("/api/recipes/validate", {"json": {"name": "r", "model": "m", "on": ["cpu.onnx"]}}, set()),
    ("get", "/metrics"): ("/metrics", {}, set()),
}


def expect_of_every_call(api: httpx.Client, away: set[str]) -> None:
    for (method, path), (url, arguments, needs) in CALLS.items():
        answer = api.request(method, url, **arguments)
        if not needs & away:
            assert answer.status_code < 500, (method, path, answer.text[:300])
            continue
        assert (answer.status_code, answer.headers.get("Retry-After")) == (503, "5"), (method, path, answer.text[:300])
        if method != "head":
            assert answer.json().keys() == {"error", "detail"}, (method, path)
            assert answer.json()["error"] == "Unavailable", (method, path)


def is_unavailable(answer: httpx.Response, who: str) -> bool:
    assert answer.status_code == 503, answer.text
    assert answer.headers["Retry-After"] == "5"
    body = answer.json()
    assert body["error"] == "Unavailable"
    return who in body["detail"]


def eventually(api: httpx.Client, path: str, within_s: float = 15.0) -> httpx.Response:
    """Return the first answer that is not a 503."""
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
        assert api.post("/api/register", json=DEVICE).status_code == 200  # workers are stored in Redis
        assert 'fleetmark_up{part="database"} 0.0' in api.get("/metrics").text

        own_postgres.start()
        assert eventually(api, "/api/health").json()["status"] == "healthy"
        assert [one["campaign_id"] for one in api.get("/api/campaigns").json()["campaigns"]] == [kept]
        assert api.post(f"/api/jobs/{kept}-job-1/cancel").json()["status"] == "cancelled"
        assert api.post("/api/models?name=m.onnx", content=b"bytes").status_code == 201


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_database_that_goes_away_before_the_first_row_is_no_half_table(
    redis_url: str, own_postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """The database answers when the campaign is looked up. Once the answer has begun, the server can only break it off."""
    with plane(redis_url, own_postgres.create_database("outage"), tmp_path) as ctx, serving(ctx) as api:
        migrate(ctx.store)
        kept = api.post("/api/campaigns", json=CAMPAIGN).json()["campaign_id"]
        reads = iter([lambda: None, own_postgres.stop])
        read = ctx.store.read
        monkeypatch.setattr(Store, "read", lambda _store: (next(reads)(), read())[1])
        assert is_unavailable(api.get(f"/api/campaigns/{kept}/results?format={suffix}"), "database")


def test_the_table_of_calls_names_every_call_there_is(redis_url: str, tmp_path: Path) -> None:
    with plane(redis_url, f"sqlite:///{tmp_path / 'fleetmark.db'}", tmp_path) as ctx:
        described = {(method, path) for path, methods in make_api(ctx).openapi()["paths"].items() for method in methods}
    assert described - {("get", "/api/health"), ("head", "/api/health")} == set(CALLS)


def test_every_call_that_needs_redis_is_503_while_it_is_away_and_the_others_are_served(own_redis: RedisServer, tmp_path: Path) -> None:
    with plane(own_redis.url, f"sqlite:///{tmp_path / 'fleetmark.db'}", tmp_path) as ctx, serving(ctx) as api:
        migrate(ctx.store)
        expect_of_every_call(api, {"redis"})
        own_redis.start()
        expect_of_every_call(api, set())


def test_every_call_that_needs_the_database_is_503_while_it_is_away_and_the_others_are_served(
    redis_url: str, own_postgres: PostgresServer, tmp_path: Path
) -> None:
    with plane(redis_url, own_postgres.create_database("every_call"), tmp_path) as ctx, serving(ctx) as api:
        migrate(ctx.store)
        assert api.get("/api/recipes").status_code == 200  # from this call on, the server knows that no token is needed
        own_postgres.stop()
        expect_of_every_call(api, {"database"})
        own_postgres.start()
        expect_of_every_call(api, set())


def test_a_redis_that_stands_still_is_503_within_a_few_seconds(own_redis: RedisServer, tmp_path: Path) -> None:
    """Redis accepts connections but never answers. No call waits longer than half a minute, which is the client's limit."""
    own_redis.start()
    with plane(own_redis.url, f"sqlite:///{tmp_path / 'fleetmark.db'}", tmp_path) as ctx, serving(ctx) as api:
        migrate(ctx.store)
        assert api.get("/api/health").status_code == 200
        assert own_redis.process is not None
        own_redis.process.send_signal(signal.SIGSTOP)
        assert is_unavailable(api.get("/api/workers"), "Redis does not answer")
        own_redis.process.send_signal(signal.SIGCONT)
        assert eventually(api, "/api/health").status_code == 200


@pytest.mark.both_databases
def test_tables_that_are_missing_tell_the_caller_an_id_and_no_statement(redis_url: str, database_url: str, tmp_path: Path) -> None:
    with plane(redis_url, database_url, tmp_path) as ctx, serving(ctx) as api:  # no migration has run
        answer = api.get("/api/campaigns", headers={"X-Request-Id": "find-me"})
        assert answer.status_code == 503
        assert answer.json().keys() == {"error", "detail"}
        assert "SELECT" not in answer.text
        assert answer.headers["X-Request-Id"] == "find-me"
