"""Tests what the orchestrator keeps of a load that was cancelled or failed: figures that are marked as partial, and the records."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace

import httpx
import numpy as np
import pytest

from orchestrator.operations.cancel import cancel_campaign
from orchestrator.operations.context import Context
from orchestrator.operations.finish import finish_ended
from orchestrator.operations.record import record
from orchestrator.operations.submit import submit_recipe
from shared.ids import job_id
from shared.protocol.messages import Artifact, Result
from shared.recipes import parse_recipe
from shared.request_records import RECORD, Header, Part, record_type
from tests.integration.api.conftest import serving
from tests.integration.reports import artifact, result, started
from worker.load.figures import outcome_of
from worker.load.phases import Measured

Register = Callable[..., str]
RECIPE = {"name": "half", "service": {"type": "redis"}, "load": {"pattern": "constant", "rate": 100, "duration_s": 60}}
COUNT = 12_000  # their records are too large for a message


def half_measured(name: str, worker: str, status: str, error: str) -> tuple[Result, bytes]:
    """Return what a worker sends of a load that ended early, and the records of its requests."""
    records = np.zeros(COUNT, record_type())
    records["scheduled"], records["last"] = np.arange(COUNT) * 10_000_000, 2_000_000
    outcome = outcome_of(
        [[Measured("mixed", records, COUNT / 100, True)]],
        service_type="redis",
        operations=["get", "set"],
        concurrency=1,
        ceiling_per_s=9e4,
        detail={"partial": True, "partial_because": "0 of 3 repeats were measured to their end"},
    )
    parts = (Part(0, "mixed", 0, COUNT, 1.8e9, (0, 120_000_000_000)),)
    content = Header("redis", ("get", "set"), parts).to_line() + records.tobytes()
    assert len(content) > COUNT * RECORD.size
    sent = Artifact(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    report = result(name, status=status, error=error, error_kind="service_failed", worker_id=worker)  # type: ignore[arg-type]
    changes = {"summary": None, "outcome": outcome, "capability": "service.redis"}
    return report.model_copy(update={**changes, "artifacts": {"requests.bin": sent, "log.jsonl": artifact(b'{"attempt": 1}\n')}}), content


def upload(api: httpx.Client, report: Result, content: bytes) -> httpx.Response:
    digest = "sha-256=" + base64.b64encode(bytes.fromhex(report.artifacts["requests.bin"].sha256)).decode()
    headers = {"Digest": digest, "Content-Range": f"bytes 0-{len(content) - 1}/{len(content)}"}
    return api.put(f"/api/jobs/{report.job_id}/attempts/1/artifacts/requests.bin", content=content, headers=headers)


def test_a_cancelled_load_keeps_its_figures_and_its_records_and_the_files_of_its_campaign_get_them(
    ctx: Context, register: Register
) -> None:
    worker = register("lab")
    campaign = submit_recipe(ctx, parse_recipe(RECIPE)).campaign
    name, folder = job_id(campaign.id, 1), ctx.settings.outputs_dir / campaign.id
    record(ctx, [started(name, worker_id=worker)])
    cancel_campaign(ctx, campaign.id)
    assert finish_ended(ctx) == 1
    assert not (folder / "requests.jsonl").exists()

    report, content = half_measured(name, worker, "cancelled", "cancelled")
    with serving(ctx) as api:
        assert upload(api, report, content).json()["complete"] is True
        recorded = record(ctx, [report, report])
        assert [answer[3] for answer in recorded.answers] == ["recorded", "recorded"]
        assert upload(api, report, content).status_code == 409  # it is there
        shown = api.get(f"/api/jobs/{name}").json()
        figures = api.get("/api/figures", params={"campaign": campaign.id}).json()["figures"]
    assert (shown["job"]["status"], shown["result"]["Status"]) == ("cancelled", "Cancelled")
    assert [step["kind"] for step in shown["job"]["timeline"]] == ["started", "cancelled", "partial"]
    assert float(shown["result"]["RequestsPerS"]) == pytest.approx(100)
    assert shown["result"]["Warnings"] == "the result is partial: 0 of 3 repeats were measured to their end"
    assert figures == [], "trends and comparisons see whole results only"

    assert finish_ended(ctx) == 1, "the files of the campaign are written again"
    (row,) = csv.DictReader((folder / "results.csv").read_text().splitlines())
    assert (row["Status"], row["RequestsPerS"]) == ("Cancelled", "100.0")
    assert len((folder / "requests.jsonl").read_text().splitlines()) == COUNT
    (entry,) = json.loads((folder / "summary.json").read_text())["jobs"]
    assert (entry["partial"], entry["total_requests"], entry["latency_s"]["p99"]) == (True, COUNT, 0.002)
    page = (folder / "report.md").read_text()
    assert "12000 requests were measured before it ended (100 requests/s, p50 2 ms, p99 2 ms, 100 % succeeded): cancelled" in page
    assert "No job was measured" in page, "a part of a result is never the answer"
    assert len(list(ctx.settings.outputs_dir.glob("*_results.csv"))) == 1
    assert finish_ended(ctx) == 0


def test_a_failed_load_keeps_what_was_measured_before_its_server_died(ctx: Context, register: Register) -> None:
    worker = register("lab")
    campaign = submit_recipe(ctx, parse_recipe(RECIPE)).campaign
    name = job_id(campaign.id, 1)
    record(ctx, [started(name, worker_id=worker)])
    report, content = half_measured(name, worker, "failed", "the service redis ended (exit code 137)")
    with serving(ctx) as api:
        upload(api, report, content).raise_for_status()
        record(ctx, [report])
        shown = api.get(f"/api/jobs/{name}").json()
    assert (shown["job"]["status"], shown["job"]["error"]) == ("failed", "the service redis ended (exit code 137)")
    assert shown["result"]["LatencyScheduledMsP99"] is not None
    assert finish_ended(ctx) == 1
    (entry,) = json.loads((ctx.settings.outputs_dir / campaign.id / "summary.json").read_text())["jobs"]
    assert (entry["status"], entry["partial"], entry["successful_requests"]) == ("failed", True, COUNT)


def test_what_a_cancelled_job_sends_is_kept_once_only_of_its_attempt_and_only_if_it_is_a_part(ctx: Context, register: Register) -> None:
    worker = register("lab")
    campaign = submit_recipe(ctx, parse_recipe(RECIPE)).campaign
    name = job_id(campaign.id, 1)
    record(ctx, [started(name, worker_id=worker)])
    cancel_campaign(ctx, campaign.id)
    report, _ = half_measured(name, worker, "cancelled", "cancelled")
    assert report.outcome is not None
    whole = report.outcome.model_copy(update={"detail": {}})
    for other in ({"attempt": 2}, {"status": "complete"}, {"outcome": None}, {"outcome": whole}):
        recorded = record(ctx, [report.model_copy(update={"artifacts": {}, **other})])
        assert [answer[3] for answer in recorded.answers] == ["unwanted"], other
    bare = report.model_copy(update={"artifacts": {}})
    assert [answer[3] for answer in record(ctx, [bare]).answers] == ["recorded"]
    assert [answer[3] for answer in record(ctx, [bare.model_copy(update={"incarnation": "second"})]).answers] == ["unwanted"]
    assert replace(recorded).rows == {}
