"""Calls each route of the API once and checks that the keys of the contract are present."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import socket
from typing import Any

import httpx
import pandas as pd
import pytest

from orchestrator.dispatch.base import Dispatch
from orchestrator.domain.findings import COUNTERS
from orchestrator.operations.context import Context
from orchestrator.operations.finish import finish
from orchestrator.operations.record import record
from orchestrator.watch import Watch
from shared.capabilities import LABELS
from shared.ids import CAMPAIGN_ID, job_id
from shared.inputs import ModelRef
from shared.protocol import keys
from shared.protocol.messages import Assignment
from shared.workloads import inference_workload
from tests.integration.reports import WORKER, result, started

DEVICE = {
    "device_name": "pi-5",
    "ip_address": "192.0.2.7",
    "capabilities": ["CPU (ONNX)"],
    "device_info": {"Soc": "BCM2712", "Ram": 8, "DeviceOs": "Linux", "DeviceOsVersion": "6.12", "UDID": "0123", "Board": "rev 1.0"},
}
SHORT = {
    "model_url": "https://models.example/squeezenet.onnx",
    "jobs": [{"compute_unit": "CPU (ONNX)", "num_inference_runs": 20}, {"compute_unit": "GPU (ONNX)"}],
}
# `curl -d` sends this header unless the user sets another one.
CURL = {"Content-Type": "application/x-www-form-urlencoded"}


def post(api: httpx.Client, path: str, body: Any, **headers: str) -> httpx.Response:
    return api.post(path, content=json.dumps(body), headers=CURL | headers)


@pytest.fixture
def worker(api: httpx.Client) -> str:
    return str(post(api, "/api/register", DEVICE).json()["worker_id"])


@pytest.fixture
def campaign(api: httpx.Client) -> str:
    return str(post(api, "/api/campaigns", SHORT).json()["campaign_id"])


def test_health_names_its_parts(api: httpx.Client) -> None:
    answer = api.get("/api/health")
    body = answer.json()
    assert answer.status_code == 200
    assert body["status"] == "healthy"
    assert body["redis"].keys() >= {"connected", "host", "port", "latency_ms"}
    assert body["redis"]["connected"] is body["database"]["connected"] is True
    assert body["timestamp"].endswith("Z")


def test_a_device_registers_and_reconnects_by_its_udid(api: httpx.Client, ctx: Context) -> None:
    first = post(api, "/api/register", DEVICE)
    assert first.status_code == 200
    assert first.json() == {
        "worker_id": first.json()["worker_id"],
        "status": "registered",
        "action": "created",
        "broker_url": ctx.settings.redis_url,
        "clock_offset_s": None,
        "report_key": None,
    }
    again = post(api, "/api/register", DEVICE | {"device_name": "renamed"}).json()
    assert (again["worker_id"], again["action"]) == (first.json()["worker_id"], "reconnected")
    assert api.get("/api/workers").json()["count"] == 1


def test_a_worker_is_listed_by_capability_or_label_and_shown_whole(api: httpx.Client, worker: str) -> None:
    for query in ("", "?capability=cpu.onnx", "?capability=CPU%20(ONNX)", "?status=active"):
        assert [one["worker_id"] for one in api.get(f"/api/workers{query}").json()["workers"]] == [worker]
    assert api.get("/api/workers?capability=gpu.coreml").json() == {"count": 0, "workers": []}
    shown = api.get(f"/api/workers/{worker}").json()
    assert shown["device_name"] == "pi-5"
    assert shown["ip_address"] == "192.0.2.7"
    assert shown["capabilities"] == ["cpu.onnx"]
    assert shown["device_info"]["Board"] == "rev 1.0"
    assert shown["current_job"] is None
    assert shown.keys() >= {"status", "registered_at", "last_seen"}


def test_a_worker_goes_through_its_states_by_rest(api: httpx.Client, worker: str) -> None:
    for status in ("busy", "busy", "cleanup", "active", "faulty", "active"):
        assert api.put(f"/api/workers/{worker}/status", json={"status": status}).json() == {"worker_id": worker, "status": status}
    refused = api.put(f"/api/workers/{worker}/status", json={"status": "cleanup"})
    assert (refused.status_code, "only busy or faulty" in refused.json()["detail"]) == (409, True)
    api.put(f"/api/workers/{worker}/status", json={"status": "faulty"})
    answer = api.put(f"/api/workers/{worker}/reset").json()
    assert answer == {"worker_id": worker, "status": "active", "message": f"worker {worker} is active again"}


def test_heartbeats_keep_a_worker_healthy(api: httpx.Client, worker: str) -> None:
    empty = api.post(f"/api/workers/{worker}/heartbeat")
    assert empty.json() == {"worker_id": worker, "status": "active", "action": "updated"}
    full = api.post(f"/api/workers/{worker}/heartbeat", json={"status": "busy", "current_job": "job", "metrics": {"cpu": 3}})
    assert full.json()["status"] == "busy"
    health = api.get(f"/api/workers/{worker}/health").json()
    assert health["is_healthy"] is True
    assert health["seconds_since_heartbeat"] < 30, "just now, on however slow a machine"
    assert health.keys() >= {"worker_id", "last_heartbeat"}
    everyone = api.get("/api/health/workers").json()
    assert (everyone["total"], everyone["healthy"], everyone["unhealthy"]) == (1, 1, 0)
    api.put(f"/api/workers/{worker}/status", json={"status": "faulty"})
    assert api.get("/api/health/workers").json()["unhealthy"] == 1


def test_a_campaign_is_accepted_in_its_short_form(api: httpx.Client) -> None:
    answer = post(api, "/api/campaigns", SHORT)
    body = answer.json()
    assert answer.status_code == 201
    assert CAMPAIGN_ID.fullmatch(body["campaign_id"])
    assert answer.headers["Location"] == f"/api/campaigns/{body['campaign_id']}"
    assert (body["total_jobs"], body["status"]) == (2, "running")
    assert [(job["job_id"], job["compute_unit"], job["status"]) for job in body["jobs"]] == [
        (f"{body['campaign_id']}-job-1", "CPU (ONNX)", "pending"),
        (f"{body['campaign_id']}-job-2", "GPU (ONNX)", "pending"),
    ]
    assert any("gpu.rocm.onnx" in warning for warning in body["warnings"])


def test_a_recipe_is_the_same_as_json_and_as_yaml(api: httpx.Client) -> None:
    yaml = "name: everywhere\nmodel: https://models.example/m.onnx\non: [cpu.onnx, 'GPU (ONNX)']\nsweep: {options.threads: [1, 2]}\n"
    recipe = {
        "name": "everywhere",
        "model": "https://models.example/m.onnx",
        "on": ["cpu.onnx", "GPU (ONNX)"],
        "sweep": {"options.threads": [1, 2]},
    }
    for media_type in ("application/yaml", "text/yaml; charset=utf-8", "application/x-yaml"):
        assert api.post("/api/campaigns", content=yaml, headers={"Content-Type": media_type}).json()["total_jobs"] == 4
    answer = post(api, "/api/campaigns", recipe)
    assert (answer.status_code, answer.json()["total_jobs"], answer.json()["name"]) == (201, 4, "everywhere")
    valid = api.post("/api/recipes/validate", content=yaml, headers={"Content-Type": "application/yaml"}).json()
    assert (valid["valid"], valid["total_jobs"]) == (True, 4)


def test_the_same_idempotency_key_is_the_same_campaign(api: httpx.Client) -> None:
    key = {"Idempotency-Key": "k-1"}
    first, again = post(api, "/api/campaigns", SHORT, **key), post(api, "/api/campaigns", SHORT, **key)
    assert first.json()["campaign_id"] == again.json()["campaign_id"]
    assert again.status_code == 201
    assert again.headers["Idempotent-Replayed"] == "true"
    other = post(api, "/api/campaigns", SHORT | {"name": "other"}, **key)
    assert (other.status_code, other.json()["error"]) == (409, "Conflict")
    assert api.get("/api/campaigns").json()["count"] == 1


def test_a_campaign_shows_its_counters_and_jobs(api: httpx.Client, ctx: Context, campaign: str) -> None:
    record(ctx, [started(f"{campaign}-job-1"), result(f"{campaign}-job-1")])
    body = api.get(f"/api/campaigns/{campaign}").json()
    assert body["model_url"] == SHORT["model_url"]
    assert (body["total_jobs"], body["completed_jobs"], body["failed_jobs"]) == (2, 1, 0)
    assert body["job_breakdown"] == {"pending": 1, "running": 0, "complete": 1, "failed": 0, "cancelled": 0}
    assert [job["status"] for job in body["jobs"]] == ["complete", "pending"]
    assert body.keys() >= {"campaign_id", "name", "status", "created_at"}
    assert "jobs" not in api.get(f"/api/campaigns/{campaign}?jobs=false").json()


def test_lists_go_on_where_the_page_before_ended(api: httpx.Client) -> None:
    made = [post(api, "/api/campaigns", {**SHORT, "name": f"number {number}"}).json()["campaign_id"] for number in range(5)]
    seen, query = [], "?limit=2"
    while True:
        page = api.get(f"/api/campaigns{query}").json()
        assert page["count"] == len(page["campaigns"]) <= 2
        seen += [one["campaign_id"] for one in page["campaigns"]]
        if page["next_cursor"] is None:
            break
        query = f"?limit=2&cursor={page['next_cursor']}"
    assert seen == sorted(made, reverse=True)
    assert api.get("/api/campaigns?status=cancelled").json()["count"] == 0


def test_a_campaign_of_many_jobs_shows_a_hundred_and_where_the_rest_is(api: httpx.Client) -> None:
    many = {**SHORT, "jobs": [{"compute_unit": "cpu.onnx"}] * 150}
    body = post(api, "/api/campaigns", many).json()
    assert (body["total_jobs"], len(body["jobs"])) == (150, 100)
    shown = api.get(f"/api/campaigns/{body['campaign_id']}").json()
    assert (len(shown["jobs"]), shown["jobs_cursor"]) == (100, body["jobs_cursor"])
    rest = api.get(f"/api/jobs?campaign={body['campaign_id']}&cursor={body['jobs_cursor']}").json()
    assert [job["job_id"].rpartition("-")[2] for job in rest["jobs"]] == [str(number) for number in range(101, 151)]
    assert rest["next_cursor"] is None


def test_the_jobs_of_a_sweep_say_what_distinguishes_them(api: httpx.Client) -> None:
    """Also where it is no option of a runtime. Before, three jobs of a service with 1, 4 and 16 clients looked the same."""
    address = {"type": "redis", "address": "redis://127.0.0.1:6379"}
    service = {"service": address, "sweep": {"client.settings.concurrent_clients": [4, 16]}}
    model = {"model": "https://models.example/m.onnx", "on": ["cpu.onnx"], "sweep": {"options.threads": [1, 2], "repeats": [3, 6]}}
    for recipe, found in (
        (service, [{"concurrent_clients": "16"}, {"concurrent_clients": "4"}]),
        (model, [{"threads": threads, "repeats": repeats} for threads in ("1", "2") for repeats in ("3", "6")]),
    ):
        body = post(api, "/api/campaigns", recipe).json()
        listed = api.get(f"/api/jobs?campaign={body['campaign_id']}").json()["jobs"]
        one = api.get(f"/api/jobs/{listed[0]['job_id']}").json()["job"]
        assert [job["parameters"] for job in body["jobs"]] == [job["parameters"] for job in listed]
        assert sorted((job["parameters"] for job in listed), key=str) == found
        assert one["parameters"] == listed[0]["parameters"]
    assert sorted(str(job["options"]) for job in body["jobs"]) == ["{'threads': 1}"] * 2 + ["{'threads': 2}"] * 2


def test_a_password_in_the_address_of_a_service_is_shown_by_no_call(api: httpx.Client) -> None:
    """The job keeps it, because its worker needs it."""
    body = post(api, "/api/campaigns", {"service": {"type": "postgres", "address": "postgresql://me:seven77@db.lab.example/bench"}})
    job_id = f"{body.json()['campaign_id']}-job-1"
    one = api.get(f"/api/jobs/{job_id}")
    assert one.json()["job"]["workload"]["target"]["address"] == "postgresql://***@db.lab.example/bench"
    for answer in (body, one, api.get("/api/jobs"), api.get("/api/campaigns"), api.get(f"/api/campaigns/{body.json()['campaign_id']}")):
        assert answer.is_success
        assert "seven77" not in answer.text


def test_jobs_are_filtered(api: httpx.Client, ctx: Context, campaign: str) -> None:
    post(api, "/api/campaigns", SHORT)
    record(ctx, [started(f"{campaign}-job-1")])
    assert api.get("/api/jobs").json()["count"] == 4
    for query, count in (
        (f"campaign={campaign}", 2),
        ("status=running", 1),
        (f"worker={WORKER}", 1),
        ("since=2026-03-01T12:00:00Z", 4),
        ("since=2026-03-01T12:00:01", 0),
    ):
        assert api.get(f"/api/jobs?{query}").json()["count"] == count, query


def test_a_job_says_what_it_waits_for_then_its_history_then_its_result(api: httpx.Client, ctx: Context, worker: str, campaign: str) -> None:
    waiting = api.get(f"/api/jobs/{campaign}-job-2").json()
    assert waiting["job"]["waiting_for"] == "waiting for a worker with gpu.cuda.onnx, gpu.rocm.onnx or gpu.directml.onnx"
    assert waiting["result"] is None
    job = f"{campaign}-job-1"
    record(ctx, [started(job, worker_id=worker)])
    api.post(f"/api/workers/{worker}/heartbeat", json={"current_job": job})
    running = api.get(f"/api/jobs/{job}").json()["job"]
    assert (running["status"], running["worker_id"], running["attempt"]) == ("running", worker, 1)
    assert [step["kind"] for step in running["timeline"]] == ["started"]
    record(ctx, [result(job)])
    done = api.get(f"/api/jobs/{job}").json()
    assert (done["job"]["status"], done["job"]["capability"]) == ("complete", "cpu.onnx")
    assert done["job"].keys() >= {"campaign_id", "compute_unit", "error", "stage", "progress"}
    assert done["result"]["status"] == "Complete"
    assert done["result"]["InferenceMsMedian"] == pytest.approx(1.1)


def test_cancelling_is_repeatable_until_the_end(api: httpx.Client, ctx: Context, campaign: str) -> None:
    for _ in range(2):
        assert api.post(f"/api/jobs/{campaign}-job-2/cancel").json() == {"job_id": f"{campaign}-job-2", "status": "cancelled"}
    assert api.get(f"/api/jobs/{campaign}-job-2").json()["result"]["status"] == "Cancelled"
    cancelled = api.post(f"/api/campaigns/{campaign}/cancel").json()
    assert cancelled == {"campaign_id": campaign, "status": "cancelled", "cancelled_jobs": 1}
    done = post(api, "/api/campaigns", {**SHORT, "jobs": SHORT["jobs"][:1]}).json()["campaign_id"]
    record(ctx, [result(f"{done}-job-1")])
    assert api.post(f"/api/jobs/{done}-job-1/cancel").json()["error"] == "IllegalTransition"
    assert api.post(f"/api/campaigns/{done}/cancel").status_code == 409


def test_results_come_as_csv_json_and_jsonl_while_others_run(api: httpx.Client, ctx: Context, campaign: str) -> None:
    url = f"/api/campaigns/{campaign}/results"
    assert len(api.get(url).text.splitlines()) == 1
    record(ctx, [result(f"{campaign}-job-1")])
    api.post(f"/api/jobs/{campaign}-job-2/cancel")
    answer = api.get(url)
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["Status"] for row in rows] == ["Complete", "Cancelled"]
    assert rows[0]["DeviceName"] == "device"
    as_json = api.get(url, params={"format": "json"}).json()
    assert [row["JobId"] for row in as_json] == [row["JobId"] for row in rows]
    assert [json.loads(line) for line in api.get(url, params={"format": "jsonl"}).text.splitlines()] == as_json
    parquet = api.get(url, params={"format": "parquet"})
    assert parquet.headers["content-disposition"].endswith('_results.parquet"')
    assert list(pd.read_parquet(io.BytesIO(parquet.content))["JobId"]) == [row["JobId"] for row in as_json]


def test_a_finished_campaign_s_file_is_listed_and_downloaded(api: httpx.Client, ctx: Context, campaign: str) -> None:
    record(ctx, [result(f"{campaign}-job-1"), result(f"{campaign}-job-2")])
    finish(ctx, campaign)
    listed = api.get("/api/results/files").json()
    assert listed["count"] == 1
    [file] = listed["files"]
    assert re.fullmatch(rf"{campaign}_\d{{8}}_\d{{6}}_results\.csv", file["filename"])
    assert file["size_mb"] > 0
    answer = api.get(f"/api/results/download/{file['filename']}")
    assert answer.text == api.get(f"/api/campaigns/{campaign}/results").text
    recipe = (ctx.settings.outputs_dir / campaign / "recipe.yaml").read_bytes()
    # the report tells the reader to type this command
    assert api.post("/api/campaigns", content=recipe, headers=CURL).json()["total_jobs"] == 2


def test_queues_are_shown_by_worker_and_by_label(api: httpx.Client, worker: str, campaign: str) -> None:
    body = api.get("/api/queue/status").json()
    assert body["worker_queues"] == {worker: {"device_name": "pi-5", "queue_size": 0}}
    assert body["capability_queues"]["CPU (ONNX)"] == 1
    assert body["capability_queues"]["GPU (ONNX)"] == 0
    assert (body["results_queue_size"], body["dead_letters"], body["latest_dead_letters"]) == (0, 0, [])


def test_dead_letters_are_shown_newest_first_with_their_reasons(api: httpx.Client, ctx: Context) -> None:
    for number in range(7):
        ctx.registry.letters.bury(f"message {number} " + "x" * 30_000, f"reason {number} \ud800")
    ctx.registry.redis.lpush(keys.DEAD_LETTERS, "somebody else's \x1b[31m words")
    status = api.get("/api/queue/status").json()
    assert status["dead_letters"] == 8
    assert [letter["reason"][:8] for letter in status["latest_dead_letters"]] == [
        "lay amon",
        "reason 6",
        "reason 5",
        "reason 4",
        "reason 3",
    ]
    assert status["latest_dead_letters"][1]["by"] == "orchestrator"
    assert "message" not in status["latest_dead_letters"][1]
    body = api.get("/api/queue/dead-letters", params={"limit": 2}).json()
    assert (body["count"], body["total"]) == (2, 8)
    foreign, newest = body["dead_letters"]
    assert foreign["message"] == "somebody else's \x1b[31m words"
    assert foreign["at"] is None
    assert (newest["queue"], newest["message"][:10], len(newest["message"])) == ("results", "message 6 ", 20_000)
    assert newest["at"].endswith("Z")
    assert api.get("/api/queue/dead-letters?limit=0").status_code == 422


@pytest.mark.parametrize("at", ["1e308", "-1e300", "1e999", "NaN", "253402300800", "-62135596801", '"soon"', "1" * 400])
def test_a_dead_letter_of_an_impossible_time_hides_no_other(api: httpx.Client, ctx: Context, at: str) -> None:
    """Every worker may add a dead letter with any content."""
    ctx.registry.redis.lpush(keys.DEAD_LETTERS, '{"at": 253402300799, "reason": "the last"}', f'{{"at": {at}, "reason": "x"}}')
    for path, found in (("status", "latest_dead_letters"), ("dead-letters", "dead_letters")):
        odd, even = api.get(f"/api/queue/{path}").raise_for_status().json()[found]
        assert odd["at"] is None
        assert odd["reason"] == "lay among the dead letters, and this version does not know its form"
        assert even["at"] == "9999-12-31T23:59:59.000Z"


def test_the_last_thousand_dead_letters_are_kept(ctx: Context) -> None:
    for number in range(keys.DEAD_LETTERS_KEPT + 3):
        ctx.registry.letters.bury(str(number), "no reason")
    assert ctx.registry.letters.count() == keys.DEAD_LETTERS_KEPT
    assert ctx.registry.letters.newest(1)[0].message == str(keys.DEAD_LETTERS_KEPT + 2)


def test_monitoring_shows_what_the_watch_counted(api: httpx.Client, ctx: Context) -> None:
    assert api.get("/api/monitoring/stats").json()["health_monitor"]["last_sweep"] is None
    ctx.registry.monitor.count_sweep({"faults_found": 2, "jobs_requeued": 3, "jobs_timed_out": 1})
    body = api.get("/api/monitoring/stats").json()
    assert (body["health_monitor"]["sweeps"], body["health_monitor"]["faults_found"], body["health_monitor"]["jobs_requeued"]) == (1, 2, 3)
    assert body["timeout_handler"]["jobs_timed_out"] == 1
    assert body["timeout_handler"]["last_sweep"].endswith("Z")


def test_every_counter_of_the_watch_is_in_the_stats_and_in_the_metrics(api: httpx.Client, ctx: Context) -> None:
    counts = {name: number for number, name in enumerate(COUNTERS, start=2)}
    before = api.get("/metrics").text
    assert all(f"\nfleetmark_watch_{name}_total 0.0\n" in before for name in COUNTERS), "from the beginning, so that an increase is seen"
    Watch(ctx).once()
    ctx.registry.monitor.count_sweep(counts)
    counts |= {name: counts[name] + 1 for name in ("leaders_changed", "memory_losses")}
    body = api.get("/api/monitoring/stats").json()
    shown = body["health_monitor"] | body["timeout_handler"]
    assert {name: shown[name] for name in COUNTERS} == counts
    assert str(shown["leader"]).startswith(f"{socket.gethostname()}/{os.getpid()}/")
    metrics = api.get("/metrics").text
    for name, number in counts.items():
        assert f"\nfleetmark_watch_{name}_total {number}.0\n" in metrics
        assert f"# HELP fleetmark_watch_{name}_total By the watch: {COUNTERS[name]}.\n" in metrics


def test_reset_forgets_everything_but_files(api: httpx.Client, ctx: Context, worker: str, campaign: str) -> None:
    record(ctx, [result(f"{campaign}-job-1")])
    body = api.post("/api/reset").json()
    assert body["status"] == "reset"
    assert "1 workers, 1 campaigns, 2 jobs, 1 results" in body["message"]
    assert all(body[f"{kind}_cleared"] for kind in ("workers", "campaigns", "jobs", "results", "queues"))
    assert api.get("/api/workers").json()["count"] == api.get("/api/campaigns").json()["count"] == 0
    assert api.get("/api/queue/status").json()["capability_queues"]["CPU (ONNX)"] == 0


def test_metrics_speak_prometheus_of_requests_and_of_the_system(api: httpx.Client, worker: str, campaign: str) -> None:
    api.get(f"/api/campaigns/{campaign}")
    text = api.get("/metrics").text
    for line in (
        'fleetmark_requests_total{method="GET",route="/api/campaigns/{campaign_id}",status="200"} 1.0',
        'fleetmark_workers{state="active"} 1.0',
        'fleetmark_jobs{state="pending"} 2.0',
        'fleetmark_queue_depth{queue="cpu.onnx"} 1.0',
        'fleetmark_up{part="database"} 1.0',
    ):
        assert line in text


def test_the_queue_of_each_capability_is_named(api: httpx.Client, ctx: Context) -> None:
    queues = re.findall(r'fleetmark_queue_depth{queue="([^"]+)"}', api.get("/metrics").text)
    assert set(queues) == {*LABELS, "results"}
    name, workload = f"campaign-{0:018}", inference_workload(model=ModelRef(source="https://models.example/m.onnx", name="m.onnx"))
    waiting = Assignment(job_id=job_id(name, 1), campaign_id=name, attempt=1, capability="cpu.vllm", workload=workload)
    ctx.queue.publish([Dispatch(waiting, "cpu.vllm", 5)])
    sizes = api.get("/api/queue/status").json()["capability_queues"]
    assert sizes.keys() == set(LABELS.values())
    assert {label: size for label, size in sizes.items() if size} == {"cpu.vllm": 1}


def test_the_description_names_every_call_with_its_bodies(api: httpx.Client) -> None:
    page = api.get("/docs")
    assert page.status_code == 200
    linked = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert linked
    assert all(link.startswith("/") for link in linked), "nothing of it is loaded from elsewhere"
    assert [api.get(link).status_code for link in linked] == [200] * len(linked)
    document = api.get("/openapi.json").json()
    submit = document["paths"]["/api/campaigns"]["post"]
    assert set(submit["responses"]) >= {"201", "400", "401", "403", "409", "413", "422", "503"}
    assert submit["requestBody"]["content"].keys() == {"application/json", "application/yaml"}
    text = json.dumps(document)
    for reference in set(re.findall(r'"#/components/schemas/([^"]+)"', text)):
        assert reference in document["components"]["schemas"]
    assert "x-fleetmark" not in text


def test_recipes_of_the_folder_are_listed_with_what_is_wrong(api: httpx.Client, ctx: Context) -> None:
    assert api.get("/api/recipes").json() == {"count": 0, "recipes": []}
    ctx.settings.recipes_dir.mkdir()
    (ctx.settings.recipes_dir / "good.yaml").write_text("name: good one\nmodel: https://m.example/m.onnx\non: [cpu.onnx]\n")
    (ctx.settings.recipes_dir / "wrong.yml").write_text("name: wrong\n")
    (ctx.settings.recipes_dir / "latin.yaml").write_bytes("name: Prüfung\n".encode("latin-1"))
    (ctx.settings.recipes_dir / "broken.yaml").symlink_to("/proc/self/mem")  # a file whose first byte cannot be read, also by root
    broken, good, latin, wrong = api.get("/api/recipes").json()["recipes"]
    assert (good["name"], good["error"]) == ("good one", None)
    assert "wrong.yml is not valid" in wrong["error"]
    assert str(ctx.settings.recipes_dir) not in json.dumps([broken, latin, wrong])
    assert broken["error"] == "broken.yaml cannot be read: Input/output error; make it readable for the orchestrator"
    assert latin["error"].startswith("latin.yaml is not text in UTF-8: invalid start byte at byte 8")


def test_every_answer_carries_the_request_s_id(api: httpx.Client) -> None:
    assert api.get("/api/workers", headers={"X-Request-Id": "mine-1"}).headers["X-Request-Id"] == "mine-1"
    assert len(api.get("/api/nowhere", headers={"X-Request-Id": "not ours!"}).headers["X-Request-Id"]) == 16
