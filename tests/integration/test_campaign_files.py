"""Tests what a campaign stores: its rows, its files, and what the API says about its jobs."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from orchestrator.operations.context import Context
from orchestrator.operations.finish import finish_ended
from orchestrator.operations.record import record
from orchestrator.operations.submit import Submitted, submit_recipe
from orchestrator.operations.tokens import create_token
from orchestrator.registry import Registry
from orchestrator.reports.bundle import CampaignBundle, JobRecord
from orchestrator.reports.outputs import write_campaign
from orchestrator.watch.memory import Memory
from orchestrator.watch.sweep import sweep
from shared.clock import FakeClock
from shared.ids import job_id
from shared.jobs import JobStatus
from shared.protocol.messages import Device, Result
from shared.recipes import parse_recipe
from shared.tokens import Role
from shared.workers import DeviceInfo, Registration
from tests.integration.api.conftest import serving
from tests.integration.reports import result, started
from tests.integration.test_way_of_a_job import counters
from tests.servers import free_port

Submit = Callable[..., Submitted]
Register = Callable[..., str]
MODEL = "https://models.example/squeezenet.onnx"


def ran(name: str, worker: str, *, device: str = "lab", sha256: str = "ab" * 32, batch: int = 1, **changes: Any) -> Result:
    """Return the result of a job that ran, with the report of its runtime."""
    bound = {"name": "x", "type": "tensor(float)", "shape": ["n", 4], "bound_shape": [batch, 4], "values_sha256": f"{batch:064x}"}
    runtime = {"inputs": [bound], "batch_size": batch, "provider": "CPUExecutionProvider", "threads": {"intra_op": 2, "inter_op": 1}}
    said = {"device": Device(name=device), "model_sha256": sha256, "runtime": runtime}
    return result(name, worker_id=worker).model_copy(update=said | changes)


def files_of(ctx: Context, campaign_id: str) -> Callable[[str], Any]:
    assert finish_ended(ctx) == 1
    folder = ctx.settings.outputs_dir / campaign_id
    return lambda name: json.loads((folder / name).read_text()) if name.endswith(".json") else (folder / name).read_text()


def test_the_rows_of_a_sweep_differ_in_the_csv_and_say_what_ran(ctx: Context, register: Register) -> None:
    worker = register("lab")
    sweep_of = {
        "model": MODEL,
        "on": ["cpu.onnx"],
        "options": {"graph": "all"},
        "sweep": {"options.batch_size": [1, 8], "options.threads": [1, 2]},
    }
    campaign = submit_recipe(ctx, parse_recipe(sweep_of)).campaign
    for number in (1, 2, 3):
        record(ctx, [ran(job_id(campaign.id, number), worker, batch=1 if number < 3 else 8)])
    with serving(ctx) as api:
        api.post(f"/api/jobs/{job_id(campaign.id, 4)}/cancel").raise_for_status()
        table = pd.read_csv(io.StringIO(api.get(f"/api/campaigns/{campaign.id}/results").text))
        excel = api.get(f"/api/campaigns/{campaign.id}/results?format=excel")
    expected = ["batch_size=1; threads=1", "batch_size=1; threads=2", "batch_size=8; threads=1", "batch_size=8; threads=2"]
    assert list(table["Parameters"]) == expected
    assert list(table["BatchSize"])[:3] == [1, 1, 8]
    assert list(table["Threads"])[:3] == [2, 2, 2], "as they really were, whatever was asked"
    assert list(table["Kind"]) == ["inference"] * 4
    assert excel.content.startswith(b"\xef\xbb\xbfStatus;JobId")
    german = pd.read_csv(io.BytesIO(excel.content), sep=";", decimal=",", encoding="utf-8-sig")
    pd.testing.assert_frame_equal(german, table)
    assert 'filename="' in excel.headers["Content-Disposition"]
    assert excel.headers["Content-Disposition"].endswith('_results.csv"')


def test_options_of_entries_make_other_work_and_other_rows(ctx: Context, register: Register) -> None:
    worker = register("lab")
    entries = [
        {"model": MODEL, "options": {"batch_size": 1}},
        {"model": f"{MODEL}?again", "name": "squeezenet.onnx", "options": {"batch_size": 256}},
    ]
    campaign = submit_recipe(ctx, parse_recipe({"models": entries, "on": ["cpu.onnx"]})).campaign
    record(ctx, [ran(job_id(campaign.id, 1), worker), ran(job_id(campaign.id, 2), worker, batch=256)])
    files = files_of(ctx, campaign.id)
    assert list(pd.read_csv(io.StringIO(files("results.csv")))["Parameters"]) == ["batch_size=1", "batch_size=256"]
    assert [entry["work"] for entry in files("report.json")["fastest"]] == ["squeezenet.onnx · batch 1", "squeezenet.onnx · batch 256"]
    assert "× as fast" not in files("report.md")


def test_devices_of_one_name_are_two_in_every_file_and_known_by_their_hardware(ctx: Context, register: Register) -> None:
    first = ctx.registry.register(_registration("udid-1", {"memory_mb": 1024}))[0]
    second = ctx.registry.register(_registration("udid-2", {"memory_mb": 2048}))[0]
    campaign = submit_recipe(ctx, parse_recipe({"model": MODEL, "on": ["cpu.onnx"], "devices": "every"})).campaign
    record(ctx, [ran(job_id(campaign.id, 1), first), ran(job_id(campaign.id, 2), second)])
    files = files_of(ctx, campaign.id)
    labels = {first: f"lab ({first[:11]})", second: f"lab ({second[:11]})"}
    run = files("run.json")
    assert {worker: (entry["label"], entry["hardware"]["memory_mb"]) for worker, entry in run["workers"].items()} == {
        first: (labels[first], 1024),
        second: (labels[second], 2048),
    }
    assert {job["worker_id"]: job["device"] for job in files("summary.json")["jobs"]} == labels
    (ranking,) = files("report.json")["fastest"]
    assert {one["where"] for one in ranking["ranking"]} == {f"{label} · CPU (ONNX)" for label in labels.values()}
    with serving(ctx) as api:
        jobs = api.get(f"/api/jobs?campaign={campaign.id}").json()["jobs"]
    assert [(job["worker_id"], job["device"]) for job in jobs] == [(first, "lab"), (second, "lab")]


def _registration(udid: str, hardware: dict[str, Any]) -> Registration:
    return Registration(device_name="lab", capabilities=["cpu.onnx"], device_info=DeviceInfo(UDID=udid), hardware=hardware)


def test_run_json_names_who_submitted_and_the_recipe_s_hash(ctx: Context, register: Register) -> None:
    worker = register("lab")
    _, token = create_token(ctx, "nightly build", Role.ADMIN)
    with serving(ctx) as api:
        body = {"model_url": MODEL, "jobs": [{"compute_unit": "cpu.onnx"}]}
        made = api.post("/api/campaigns", json=body, headers={"Authorization": f"Bearer {token}"}).json()["campaign_id"]
    record(ctx, [ran(job_id(made, 1), worker)])
    run = files_of(ctx, made)("run.json")
    assert run["user"] == "nightly build"
    assert len(run["recipe_hash"]) == 64


def test_a_job_whose_time_is_over_has_failed_in_the_csv_and_counts_as_a_failure(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register
) -> None:
    worker = register("lab")
    campaign = submit(jobs=2, timeout_s=60).campaign
    late, well = job_id(campaign.id, 1), job_id(campaign.id, 2)
    record(ctx, [started(late, worker_id=worker), ran(well, worker)])
    clock.advance(60 + ctx.settings.deadline_grace_s + 1)
    ctx.registry.heartbeat(worker)
    assert sweep(ctx, Memory(), may_condemn=False).jobs_timed_out == 1
    assert counters(ctx, campaign) == {str(JobStatus.FAILED): 1, str(JobStatus.COMPLETE): 1}
    files = files_of(ctx, campaign.id)
    table = pd.read_csv(io.StringIO(files("results.csv")))
    assert list(table["Status"]) == ["Failed", "Complete"]
    assert "no result within its timeout" in table["Error"][0]
    assert (files("summary.json")["success_rate"], files("summary.json")["error_count"]) == (50.0, 1)


def test_pending_jobs_say_what_they_wait_for_in_every_list(ctx: Context, submit: Submit, register: Register) -> None:
    register("lab")
    nobody = submit(jobs=1, unit="gpu.cuda.onnx").campaign.id
    queued = submit(jobs=1, unit="cpu.onnx").campaign.id
    with serving(ctx) as api:

        def waits(campaign_id: str) -> set[str]:
            name = job_id(campaign_id, 1)
            listed = {job["job_id"]: job for job in api.get("/api/jobs").json()["jobs"]}
            (brief,) = api.get(f"/api/campaigns/{campaign_id}").json()["jobs"]
            return {answer["waiting_for"] for answer in (listed[name], brief, api.get(f"/api/jobs/{name}").json()["job"])}

        assert waits(nobody) == {"waiting for a worker with gpu.cuda.onnx"}
        assert waits(queued) == {"waiting in the queue cpu.onnx until a worker is free"}
        record(ctx, [started(job_id(queued, 1))])
        assert waits(queued) == {None}


def test_jobs_name_their_devices_and_are_listed_without_them_while_redis_is_away(ctx: Context, submit: Submit, register: Register) -> None:
    worker = register("lab")
    name = job_id(submit(jobs=1).campaign.id, 1)
    record(ctx, [started(name, worker_id=worker)])
    with serving(ctx) as api:
        assert _devices(api) == ["lab"]
        ctx.registry.remove(worker)
        assert _devices(api) == ["lab"], "what a worker that has left was called is still known"
    nowhere = Registry(f"redis://127.0.0.1:{free_port()}/0", ctx.registry.timeout_s)
    with serving(replace(ctx, registry=nowhere)) as api:
        assert _devices(api) == [None]
    nowhere.close()


def _devices(api: httpx.Client) -> list[str | None]:
    return [job["device"] for job in api.get("/api/jobs").json()["jobs"]]


def test_no_transaction_is_open_while_the_files_are_written(ctx: Context, register: Register, monkeypatch: pytest.MonkeyPatch) -> None:
    """An open transaction would keep SQLite from emptying its journal while a large campaign is written."""
    worker = register("lab")
    campaign = submit_recipe(ctx, parse_recipe({"model": MODEL, "on": ["cpu.onnx"], "sweep": {"options.threads": [1, 2]}})).campaign
    record(ctx, [ran(job_id(campaign.id, number), worker) for number in (1, 2)])
    pool: Any = ctx.store.engine.pool
    opened: list[int] = []

    def watched(folder: Path, bundle: CampaignBundle) -> list[Path]:
        def each() -> Iterator[JobRecord]:
            for one in bundle.jobs:
                opened.append(pool.checkedout())
                yield one

        opened.append(pool.checkedout())
        return write_campaign(folder, replace(bundle, jobs=each()))

    monkeypatch.setattr("orchestrator.operations.finish.write_campaign", watched)
    assert finish_ended(ctx) == 1
    assert opened == [0, 0, 0]
