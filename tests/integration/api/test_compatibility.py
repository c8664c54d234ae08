"""Tests the calls that say which workers can do which work."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import httpx
import pytest

from orchestrator.operations.context import Context
from orchestrator.store import campaigns
from shared.capabilities import LABELS, kinds_of

LLM = {"model": "hf://org/tiny", "on": ["cpu.torch"], "prompts": {"input_tokens": 1_000, "output_tokens": 24}}
CONFIG = {"model_type": "llama", "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096}
WITH = {"work": {"cpu.torch": {"inference": {}, "generation": {"transformers": "5.24.0"}}}, "services": {"redis": "valkey 9.1"}}


def register(api: httpx.Client, name: str, capabilities: list[str], **hardware: Any) -> str:
    body = {"device_name": name, "capabilities": capabilities, "device_info": {"UDID": name}, "hardware": hardware}
    return str(api.post("/api/register", json=body).json()["worker_id"])


@pytest.fixture
def fleet(api: httpx.Client) -> dict[str, str]:
    return {
        "able": register(api, "able", ["cpu.torch", "service.redis"], memory_mb=64_000, **WITH),
        "small": register(api, "small", ["cpu.torch"], memory_mb=200, **WITH),
        "bare": register(api, "bare", ["cpu.torch", "service.redis"], memory_mb=64_000, work={"cpu.torch": {"inference": {}}}, services={}),
        "other": register(api, "other", ["cpu.onnx"]),
    }


def compare(api: httpx.Client, body: Any) -> dict[str, dict[str, Any]]:
    answer = api.post("/api/workers/compatibility", json=body)
    assert answer.status_code == 200, answer.text
    return {worker["device_name"]: worker for worker in answer.json()["workers"]}


def upload(api: httpx.Client, config: dict[str, Any]) -> str:
    return str(api.post("/api/models?name=config.json", content=json.dumps(config)).json()["sha256"])


def test_each_worker_says_what_is_missing_for_a_recipe(api: httpx.Client, fleet: dict[str, str]) -> None:
    found = compare(api, LLM)
    assert {name: worker["can_run"] for name, worker in found.items()} == {"able": True, "small": True, "bare": False, "other": False}
    assert found["bare"]["missing_requirements"] == ["transformers"]
    assert found["other"]["missing_requirements"] == ["the capability cpu.torch"]
    assert found["able"]["supported_features"] == ["transformers 5.24.0"]
    assert found["able"]["warnings"] == ["how much memory the model takes is not known before a worker has fetched it"]


@pytest.mark.long
def test_an_uploaded_model_is_compared_with_the_memory_of_each_worker(api: httpx.Client, fleet: dict[str, str]) -> None:
    weights = {"name": "model.safetensors", "sha256": hashlib.sha256(b"not uploaded").hexdigest(), "size": 100 * 2**20}
    sha256 = upload(api, CONFIG)
    body = {**LLM, "model": None, "models": [{"model": f"sha256:{sha256}?name=big", "size": 100, "companions": [weights]}]}
    del body["model"]
    found = compare(api, body)
    assert found["able"]["can_run"]
    # 100 MB of weights, and 1 024 tokens of 2 x 32 layers x 8 heads x 128 numbers of 16 bits.
    assert found["small"]["missing_requirements"] == ["228 MB of memory for the model: it has 200 MB"]


def test_a_job_is_compared_as_it_was_submitted_and_placement_agrees(api: httpx.Client, fleet: dict[str, str]) -> None:
    campaign = api.post("/api/campaigns", json=LLM).json()["campaign_id"]
    found = compare(api, {"job_id": f"{campaign}-job-1"})
    able = {worker["worker_id"] for worker in found.values() if worker["can_run"]}
    assert able == {fleet["able"], fleet["small"]}
    assert api.get("/api/jobs", params={"campaign": campaign}).json()["jobs"][0]["status"] == "pending"
    waits = api.get(f"/api/jobs/{campaign}-job-1").json()["job"]["waiting_for"]
    assert any(name in waits for name in ("able", "small")), waits


def test_with_several_works_each_is_judged_by_itself(api: httpx.Client, fleet: dict[str, str]) -> None:
    found = compare(api, {"model": "https://models.example/a.onnx", "on": ["cpu.onnx", "cpu.torch"]})
    assert found["other"]["can_run"] is False
    assert [work["can_run"] for work in found["other"]["works"]] == [True, False]
    assert found["other"]["missing_requirements"] == ["a.onnx on cpu.torch: the capability cpu.torch"]


def test_a_recipe_that_names_devices_is_for_these_devices(api: httpx.Client, fleet: dict[str, str]) -> None:
    found = compare(api, {**LLM, "devices": ["small"]})
    assert {name for name, worker in found.items() if worker["can_run"]} == {"small"}
    assert "it is none of the devices that are named: small" in found["able"]["missing_requirements"]


def test_a_worker_that_gets_no_work_now_can_run_it_and_says_why_it_will_not(api: httpx.Client, fleet: dict[str, str]) -> None:
    api.put(f"/api/workers/{fleet['able']}/status", json={"status": "faulty"})
    able = compare(api, LLM)["able"]
    assert (able["can_run"], able["warnings"][0]) == (True, "it is faulty, so it gets no work now")


def test_the_matrix_names_every_kind_of_work_of_every_capability(api: httpx.Client, fleet: dict[str, str]) -> None:
    answer = api.get("/api/workers/compatibility/matrix").json()
    able = next(worker for worker in answer["workers"] if worker["device_name"] == "able")
    titles = {work["title"] for work in able["works"]}
    assert titles >= {f"{kind} on {capability}" for capability in LABELS for kind in kinds_of(capability)}
    can = {work["title"] for work in able["works"] if work["can_run"]}
    assert can == {"inference on cpu.torch", "generation on cpu.torch", "load on service.redis", "a redis that the worker starts"}
    torch = api.get("/api/workers/compatibility/matrix", params={"capability": "cpu.torch"}).json()["workers"]
    bare = next(worker for worker in torch if worker["device_name"] == "bare")
    assert [(work["title"], work["can_run"]) for work in bare["works"]] == [
        ("inference on cpu.torch", True),
        ("generation on cpu.torch", False),
    ]


def test_workers_come_in_pages(api: httpx.Client, fleet: dict[str, str]) -> None:
    seen: list[str] = []
    cursor: str | None = None
    while True:
        parameters = {"limit": "3", **({"cursor": cursor} if cursor else {})}
        page = api.post("/api/workers/compatibility", json=LLM, params=parameters).json()
        seen += [worker["worker_id"] for worker in page["workers"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == sorted(fleet.values())


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ({"job_id": "job-1"}, 422, "job_id"),
        ({"job_id": "campaign-000000000000000000-job-1"}, 404, "campaign-000000000000000000-job-1"),
        ({"job_id": "campaign-000000000000000000-job-1", "x": 1}, 422, "x"),
        ({**LLM, "on": ["cpu.onnx"]}, 422, "is for the kind of work"),
        ({**LLM, "model": "sha256:12"}, 422, "a SHA-256 is 64 hexadecimal digits"),
        ([], 422, ""),
    ],
)
def test_what_is_neither_a_recipe_nor_a_job_is_refused(api: httpx.Client, body: Any, status: int, detail: str) -> None:
    answer = api.post("/api/workers/compatibility", json=body)
    assert (answer.status_code, detail in answer.text) == (status, True), answer.text


def test_a_recipe_in_yaml_is_read_too(api: httpx.Client, ctx: Context, fleet: dict[str, str]) -> None:
    text = "model: hf://org/tiny\non: [cpu.torch]\nprompts: {}\n"
    answer = api.post("/api/workers/compatibility", content=text, headers={"Content-Type": "application/yaml"})
    assert answer.json()["able"] == 2
    with ctx.store.read() as session:
        assert campaigns.count(session, status=None, labels=[]) == 0, "nothing was submitted"
