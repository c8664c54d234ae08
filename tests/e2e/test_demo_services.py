"""Tests `fleetmark demo` with the recipes of services: real servers, from the recipe to the folder of the campaign, and nothing left."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.e2e.test_demo import running

ROOT = Path(__file__).resolve().parents[2]
SHORT = """
name: {service}
service: {{type: {service}{more}}}
client: {{type: {service}_smoke, settings: {{warmup_delay: 0, {settings}}}}}
warmup: {{min_s: 0.1}}
sweep: {{client.settings.concurrent_clients: [1, 2]}}
slo: {{p50_latency_ms: 1000}}
repeats: 2
"""


@pytest.mark.long
def test_services_are_started_measured_and_gone(tmp_path: Path) -> None:
    recipes = []
    for service, settings, more in (
        ("redis", "num_requests: 700", ""),
        ("postgres", "num_inserts: 0, num_selects: 700", ""),
        ("minio", "num_requests: 700", ", settings: {program: rclone}"),
    ):
        recipes.append(tmp_path / f"{service}.yaml")
        recipes[-1].write_text(SHORT.format(service=service, settings=settings, more=more))
    with running(tmp_path, "demo", *map(str, recipes)) as demo:
        assert demo.wait() == 0, demo.err()
        shown = demo.out()
        demo.assert_leaves_nothing()
    assert "Requests/s" in shown
    for service, figure in (("redis", "ops_per_second"), ("postgres", "select_qps"), ("minio", "put_bytes_per_second")):
        (folder,) = (
            path.parent for path in (tmp_path / "outputs").glob("*/run.json") if json.loads(path.read_text())["recipe"]["name"] == service
        )
        with (folder / "results.csv").open(newline="") as table:
            rows = list(csv.DictReader(table))
        assert [(row["Status"], row["Concurrency"], row["SuccessRate"]) for row in rows] == [
            ("Complete", "1", "100.0"),
            ("Complete", "2", "100.0"),
        ]
        assert all(float(row["LoadMsMedian"]) > 0 and float(row["ClientCeilingPerS"]) > 0 for row in rows)
        summary = json.loads((folder / "summary.json").read_text())
        assert (summary["service_type"], summary["failed_requests"], summary["success_rate"]) == (service, 0, 100)
        assert summary["total_requests"] == 2 * 2 * 700
        assert all(job[figure] > 0 and job["health"]["ok"] and job["latency_s"]["p99"] > 0 for job in summary["jobs"])
        with (folder / "requests.jsonl").open() as file:
            requests = [json.loads(line) for line in file]
        measured = [one for one in requests if not one["warmup"]]
        assert len(measured) == summary["total_requests"]
        assert all(one["success"] and one["timestamp_end"] > one["timestamp_start"] for one in measured)
        report = (folder / "report.md").read_text()
        assert "## What the service takes" in report
        assert "**The SLO** (p50_latency_ms 1000" in report
        assert {"load.png", "latency.png"} <= {path.name for path in (folder / "plots").iterdir()}
