"""Measures the speed of the control plane with a real PostgreSQL and a real Redis, and prints each figure with its limit.

    python -m benchmarks.control_plane

- accepting a campaign of 10 000 jobs over HTTP (limit 0.4 s), and one of 100 000 jobs (limit 4 s),
- `GET /api/campaigns/{id}` of it (limit: median 10 ms),
- publishing a batch, compared with a loop of Celery's `apply_async` on the same Redis, in alternating runs (at least 5 times as fast),
- the results consumer into PostgreSQL (at least 500 results/s).
"""

from __future__ import annotations

import json
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from sqlalchemy import text

from orchestrator.api import make_api
from orchestrator.api.connections import server_config
from orchestrator.app import ControlPlane
from orchestrator.consumer import ResultsConsumer
from orchestrator.dispatch.base import Dispatch
from orchestrator.dispatch.celery_queue import CeleryQueue
from orchestrator.operations.context import Context
from orchestrator.settings import Settings
from shared import collector
from shared.celery_app import make_celery_app, results_queue
from shared.ids import job_id
from shared.inputs import ModelRef
from shared.protocol.messages import TASK_NAME, Assignment
from shared.web import web_client
from shared.workers import DeviceInfo, Registration
from shared.workloads import inference_workload
from tests.integration.reports import result, started
from tests.servers import PostgresServer, RedisServer, free_port, server_folder

JOBS = 10_000
ACCEPTED_WITHIN_S = {JOBS: 0.4, 100_000: 4.0}
PUBLISHED = 5_000
ROUNDS = 5


@contextmanager
def plane() -> Iterator[tuple[Context, str]]:
    """Start a control plane with its API on a free port, without consumer and watch. Yield its context and the API's address."""
    with server_folder() as redis_folder, server_folder() as postgres_folder, tempfile.TemporaryDirectory() as outputs:
        redis_server, postgres = RedisServer(redis_folder), PostgresServer(postgres_folder)
        redis_server.start()
        postgres.start()
        port = free_port()
        made = ControlPlane(
            Settings(
                port=port,
                redis_url=redis_server.url,
                database_url=postgres.create_database("bench"),
                outputs_dir=Path(outputs),
                models_dir=Path(outputs),
            )
        )
        made.prepare(migrating=True)
        collector.settle()  # as `fleetmark serve` does before it serves
        server = uvicorn.Server(server_config(make_api(made.context), made.settings))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield made.context, f"http://127.0.0.1:{port}/api"
        finally:
            server.should_exit = True
            thread.join()
            made.stop()
            postgres.stop()
            redis_server.stop()


def accept(host: str, total: int) -> tuple[str, list[float]]:
    body = json.dumps({"model_url": "https://models.example/squeezenet.onnx", "jobs": [{"compute_unit": "CPU (ONNX)"}] * total})
    times, campaign_id = [], ""
    for _ in range(ROUNDS):
        with web_client(host, timeout=60, direct=True) as client:  # a new connection for each round, as most callers make
            start = time.perf_counter()
            answer = client.post("/campaigns", content=body)
            times.append(time.perf_counter() - start)
        assert answer.status_code == 201, answer.text
        campaign_id = answer.json()["campaign_id"]
        assert answer.json()["total_jobs"] == total
    return campaign_id, times


def _accept_within(host: str, total: int, limit_s: float) -> str:
    """Accept campaigns, print how long it took, and return the id of the last one."""
    campaign_id, took = accept(host, total)
    median = statistics.median(took)
    print(
        f"accept {total} jobs: median {median:.2f} s of {[round(one, 2) for one in took]} ({median / limit_s:.2f} of the {limit_s} s limit)"
    )
    return campaign_id


def look(host: str, campaign_id: str) -> list[float]:
    times = []
    with web_client(host, timeout=60, direct=True) as client:
        for _ in range(200):
            start = time.perf_counter()
            answer = client.get(f"/campaigns/{campaign_id}")
            times.append(time.perf_counter() - start)
            assert answer.json()["total_jobs"] == JOBS
    return times


def _nothing(assignment: object) -> None:
    """Is the body of the Celery task, which never runs here."""


def publish(redis_url: str) -> tuple[list[float], list[float]]:
    """Return the messages per second of each round, for our publisher and for a loop of `apply_async`."""
    ours, app = CeleryQueue(redis_url), make_celery_app(redis_url)
    work = inference_workload(model=ModelRef(source="https://models.example/squeezenet.onnx", name="squeezenet.onnx"))
    campaign = "campaign-" + "0" * 18
    assignments = [
        Assignment(job_id=job_id(campaign, n), campaign_id=campaign, attempt=1, capability="cpu.onnx", workload=work)
        for n in range(1, PUBLISHED + 1)
    ]
    batch = [Dispatch(assignment, "bench.ours", 5) for assignment in assignments]
    task = app.task(_nothing, name=TASK_NAME)
    rates: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        start = time.perf_counter()
        ours.publish(batch)
        rates[0].append(PUBLISHED / (time.perf_counter() - start))
        start = time.perf_counter()
        for assignment in assignments:
            task.apply_async(
                args=[assignment.model_dump(mode="json")], queue="bench.celery", task_id=f"{assignment.job_id}.1", ignore_result=True
            )
        rates[1].append(PUBLISHED / (time.perf_counter() - start))
    ours.purge(["bench.ours", "bench.celery"])
    ours.close()
    app.close()
    return rates


def consume(ctx: Context, campaign_id: str, results: int = 3_000) -> float:
    """Return the results per second that the consumer records from a full queue into PostgreSQL, including artifacts and answers."""
    app = make_celery_app(ctx.settings.redis_url)
    with app.connection_for_write() as connection:
        producer = connection.Producer()
        for number in range(1, results + 1):
            for report in (started(job_id(campaign_id, number)), result(job_id(campaign_id, number))):
                queue = results_queue()
                producer.publish(
                    report.model_dump_json(), routing_key=queue.name, exchange="", content_type="application/json", content_encoding="utf-8"
                )
    app.close()
    stop = threading.Event()
    consumer = ResultsConsumer(ctx, ctx.settings.redis_url)
    thread = threading.Thread(target=consumer.run, args=(stop,))
    start = time.perf_counter()
    thread.start()
    recorded = 0
    while recorded < results:
        time.sleep(0.05)
        with ctx.store.read() as session:
            recorded = int(session.execute(text("SELECT count(*) FROM results")).scalar_one())
    elapsed = time.perf_counter() - start
    stop.set()
    thread.join()
    return results / elapsed


def main() -> None:
    with plane() as (ctx, host):
        ctx.registry.register(Registration(device_name="bench", capabilities=["cpu.onnx"], device_info=DeviceInfo(UDID="bench")))
        campaigns = [_accept_within(host, total, limit_s) for total, limit_s in ACCEPTED_WITHIN_S.items()]
        campaign_id = campaigns[0]
        seen = statistics.median(look(host, campaign_id)) * 1000
        print(f"GET the campaign: median {seen:.1f} ms ({seen / 10:.2f} of the 10 ms limit)")
        ours, theirs = publish(ctx.settings.redis_url)
        ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
        print(
            f"publish: {statistics.median(ours):.0f}/s in batches, {statistics.median(theirs):.0f}/s by apply_async, "
            f"ratio median {statistics.median(ratios):.1f} of {[round(one, 1) for one in ratios]}"
        )
        rate = consume(ctx, campaign_id)
        print(f"consume: {rate:.0f} results/s into PostgreSQL ({rate / 500:.1f} x the 500/s wanted)")


if __name__ == "__main__":
    main()
