"""Measures how long a client takes to download the CSV of 100 000 results, and whether the server's memory grows.

    python -m benchmarks.csv_stream [--database sqlite]

A new orchestrator process is started for each size, because the memory peak of a process never decreases. For comparison, the benchmark
also measures making the lines from the stored rows. Lines are stored with the results to avoid this cost.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from sqlmodel import Session

from orchestrator.reports.bundle import EndedJob
from orchestrator.reports.columns import Row
from orchestrator.reports.rows import csv_row
from orchestrator.reports.tables import csv_line, stream_csv
from orchestrator.store import Store
from orchestrator.store.bulk import insert_many
from orchestrator.store.schema import migrate
from orchestrator.store.tables import Campaign, Job, Lane, ResultRow
from shared.ids import job_id, new_campaign_id
from shared.jobs import CampaignStatus, JobStatus
from shared.measurements import Noise, RawRepeat
from shared.protocol.messages import Device, Result
from shared.stats import summarise
from shared.web import web_client
from tests.servers import PostgresServer, RedisServer, free_port, server_folder

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIMIT_S = 1.0  # for 100 000 rows
SIZES = (10_000, 100_000)
ROUNDS = 3
BATCH = 5_000


def measured_row(campaign_id: str, number: int) -> Row:
    """Return a row like that of a real job with five repeats of 200 inferences."""
    name = job_id(campaign_id, number)
    raw = [
        RawRepeat(index, 80_123_457, [5_000_000] * 10, [5_000_017 + 7919 * i for i in range(200)], cpu_percent=97.3) for index in range(5)
    ]
    result = Result(
        job_id=name,
        attempt=1,
        worker_id="worker-0123456789ab",
        incarnation="x",
        campaign_id=campaign_id,
        capability="cpu.onnx",
        status="complete",
        device=Device(name="raspberry-pi-5-lab", soc="BCM2712", ram_gb=7.87, os="Linux", labels={"price_per_hour": "0.05"}),
        model_name="squeezenet.onnx",
        model_size=4_956_208,
        summary=summarise(raw),
        noise=Noise(grade="quiet"),
        started_at=0.0,
        ended_at=12.345,
    )
    return csv_row(EndedJob(name, campaign_id, JobStatus.COMPLETE, "cpu.onnx", "squeezenet.onnx", 1, NOW), result)


def fill(store: Store, count: int) -> str:
    """A completed campaign of `count` results; its id."""
    campaign_id = new_campaign_id(datetime.now(UTC))
    row = measured_row(campaign_id, 1)
    line = csv_line(row)
    facts: dict[str, Any] = {"campaign_id": campaign_id, "attempt": 1, "worker_id": "worker-0123456789ab"}
    ended: dict[str, Any] = {"status": str(CampaignStatus.COMPLETED), "created_at": NOW, "queue_deadline_at": NOW, "ended_at": NOW}
    hashes: dict[str, Any] = {"recipe": {}, "recipe_hash": "0" * 64, "request_hash": "0" * 64, "reported_at": NOW}
    job: dict[str, Any] = {"compute_unit": "cpu.onnx", "priority": 5, "status": "complete", "max_attempts": 3, "losses": 0, "workload": {}}

    def head(session: Session) -> int:
        counters = {"total_jobs": count, "pending_jobs": 0, "complete_jobs": count}
        session.add(Campaign(**{"id": campaign_id, "name": "bench", "model_url": "x", **counters, **hashes, **ended}))
        session.flush()
        lane = Lane(campaign_id=campaign_id, priority=5, compute_unit="cpu.onnx")
        session.add(lane)
        session.flush()
        assert lane.id is not None
        return lane.id

    job |= {"lane_id": store.transact(head), "model_name": "squeezenet.onnx", "created_at": NOW}
    for start in range(1, count + 1, BATCH):

        def batch(session: Session, first: int = start) -> None:
            numbers = {number: job_id(campaign_id, number) for number in range(first, min(first + BATCH, count + 1))}
            insert_many(session, Job, [{"id": name, "number": number, **facts, **job} for number, name in numbers.items()])
            kept = {"row": row, "line": line, "result": {}, "recorded_at": NOW}
            insert_many(session, ResultRow, [{"job_id": name, "number": number, **kept, **facts} for number, name in numbers.items()])

        store.transact(batch)
    return campaign_id


@contextmanager
def orchestrator(redis_url: str, database_url: str, folder: Path) -> Iterator[tuple[str, int]]:
    """Run the API in its own process. Yield its address and process id."""
    port = free_port()
    names = {"REDIS_URL": redis_url, "DATABASE_URL": database_url, "OUTPUTS_DIR": str(folder), "MODELS_DIR": str(folder)}
    environment = os.environ | {f"FLEETMARK_{name}": value for name, value in names.items()} | {"FLEETMARK_LOG_LEVEL": "warning"}
    process = subprocess.Popen([sys.executable, "-m", "orchestrator.cli", "serve", "--only-api", "--port", str(port)], env=environment)
    host = f"http://127.0.0.1:{port}/api"
    try:
        with web_client(host, timeout=5, direct=True) as client:
            while True:
                try:
                    client.get("/health")
                    break
                except httpx.TransportError:
                    if process.poll() is not None:
                        raise
                    time.sleep(0.05)
        yield host, process.pid
    finally:
        process.terminate()
        process.wait()


def download(host: str, campaign_id: str, count: int) -> float:
    begin, lines = time.perf_counter(), 0
    with (
        web_client(host, timeout=120, direct=True) as client,
        client.stream("GET", f"/campaigns/{campaign_id}/results") as answer,
    ):
        answer.raise_for_status()
        for chunk in answer.iter_raw():
            lines += chunk.count(b"\n")
    assert lines == count + 1, f"{lines} lines for {count} results"
    return time.perf_counter() - begin


def peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def lines_from_rows(count: int) -> float:
    text = json.dumps(measured_row("campaign-0123456789abcdefgh", 1))
    begin = time.perf_counter()
    for _ in stream_csv(json.loads(text) for _ in range(count)):
        pass
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=("postgres", "sqlite"), default="postgres")
    kind = parser.parse_args().database
    with ExitStack() as stack:
        redis = RedisServer(stack.enter_context(server_folder()))
        stack.callback(redis.stop)
        redis.start()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = f"sqlite:///{folder / 'bench.db'}"
        if kind == "postgres":
            postgres = PostgresServer(stack.enter_context(server_folder()))
            stack.callback(postgres.stop)
            postgres.start()
            url = postgres.create_database("bench")
        store = Store(url)
        migrate(store)
        campaigns = {count: fill(store, count) for count in SIZES}
        store.close()
        peaks, best = {}, 0.0
        for count, campaign_id in campaigns.items():
            with orchestrator(redis.url, url, folder) as (host, pid):
                times = [download(host, campaign_id, count) for _ in range(ROUNDS)]
                peaks[count], best = peak_mb(pid), sorted(times)[ROUNDS // 2]
            print(f"{kind}: {count:>7} rows in {best:.2f} s (median of {ROUNDS}), server's peak {peaks[count]:.1f} MB resident")
        print(f"{kind}: {best / LIMIT_S:.2f} of the {LIMIT_S:.0f} s allowed; the peak grew {peaks[SIZES[1]] / peaks[SIZES[0]]:.3f}×")
        print(f"for comparison: making the lines from stored rows {lines_from_rows(SIZES[1]):.2f} s")


if __name__ == "__main__":
    main()
