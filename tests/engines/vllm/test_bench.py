"""Drives servers with the real `vllm bench serve` beside our own clients: one whose times are known, and a real `vllm serve`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from shared.figures import Outcome
from shared.kinds.load import LoadSpec
from shared.services.openai import OpenAiClient
from shared.workloads import Workload
from tests.model_server import ModelServer, json_answer, model_server, streamed
from tests.servers import free_port
from tests.serving import running, value
from tools.tiny_llama import make
from worker.kinds.base import Repeat
from worker.kinds.load import LoadMeasure
from worker.measured.request import RunRequest


@pytest.fixture(autouse=True)
def on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")


def measure(address: str, folder: Path, driver: str, load: dict[str, Any] | None = None, count: int = 20, **settings: Any) -> Outcome:
    client = OpenAiClient(max_tokens=8, **settings).model_dump(mode="json")
    content = {
        "service": {"type": "openai"},
        "client": {"type": "openai", "driver": driver, "settings": client},
        "load": load or {},
        "phases": [{"name": "requests", "operations": {"ask": 1.0}, "count": count}],
        "concurrent_clients": 2,
    }
    spec = LoadSpec.model_validate(content, strict=False).model_dump(mode="json")
    record = LoadMeasure().run(RunRequest("load", "api.openai", spec, str(folder / "1.record"), address=address), lambda _phase: None)
    workload = Workload.model_validate({"kind": "load", **spec, "repeats": 1}, strict=False)
    found = LoadMeasure().derive(workload, [Repeat(record, 1.8e9)], [], "").outcome
    assert found is not None
    return found


@pytest.mark.timeout(600)  # each run imports torch, which takes half a minute on a busy machine
def test_its_figures_are_those_of_a_server_whose_times_are_known(tmp_path: Path) -> None:
    with model_server(ModelServer(lambda _number: streamed(8, first_s=0.03, gap_s=0.02))) as server:
        found = measure(server.address, tmp_path, "vllm-bench", input_tokens=20)
        bodies = [one.body for one in server.log[1:]]  # the first one is the probe of our own driver
    assert len(bodies) == 20
    prompts = [body["messages"][0]["content"][0]["text"] for body in bodies]
    assert len(set(prompts)) == 20, "each prompt is one of our own, of which no two begin alike"
    assert {len(prompt.split()) for prompt in prompts} == {20}
    assert {(body["max_tokens"], body["max_completion_tokens"], body["temperature"]) for body in bodies} == {(8, 8, 0.0)}
    assert 170 <= value(found, "latency_ms_p50") < 230
    assert value(found, "ttft_ms_p50") < 25, "its first event is the role, which has no text and comes at once"
    assert 20 <= value(found, "itl_ms_p50") < 25
    assert (value(found, "output_tokens"), value(found, "input_tokens"), value(found, "success_rate")) == (8, 5, 100)
    (printed,) = found.detail["tool"]["printed"][0:1]
    assert value(found, "latency_ms_p50") == pytest.approx(printed[0]["median_e2el_ms"], rel=1e-6)
    assert found.detail["tool"]["version"].startswith("vllm 0.")


@pytest.mark.timeout(600)
def test_a_rate_and_failures_of_it_are_told(tmp_path: Path) -> None:
    busy = [(0.0, json_answer(429, {"error": {"message": "slow down"}}))]
    with model_server(ModelServer(lambda number: busy if number in (3, 4) else streamed(2, 0.01))) as server:
        server.pages = {"/v1/models": {"data": [{"id": "tiny"}]}}
        found = measure(server.address, tmp_path, "vllm-bench", {"pattern": "constant", "rate": 20.0}, endpoint="completions")
    assert value(found, "error_count") == 2
    assert value(found, "rate_asked") == pytest.approx(20, rel=0.15)


@pytest.mark.timeout(1_200)  # vLLM takes minutes to start on a busy machine
def test_both_drivers_find_the_same_vllm(tmp_path: Path) -> None:
    model, port = make(tmp_path / "tiny-llama", num_hidden_layers=2), free_port()
    options = ["--max-model-len", "512", "--max-num-seqs", "8", "--dtype", "bfloat16", "--enforce-eager"]
    program = str(Path(sys.executable).with_name("vllm"))
    with running([program, "serve", str(model), "--host", "127.0.0.1", "--port", str(port), *options], port, "/health") as address:
        settings: dict[str, Any] = {"endpoint": "completions", "input_tokens": 16, "ignore_eos": True}
        found = {driver: measure(address, tmp_path, driver, **settings) for driver in ("fleetmark", "vllm-bench")}
    for one in found.values():
        assert (value(one, "success_rate"), value(one, "output_tokens")) == (100, 8)
        assert one.detail["tokens"]["counted_by"] == {"usage": 20}
    ratio = value(found["fleetmark"], "latency_ms_p50") / value(found["vllm-bench"], "latency_ms_p50")
    sys.stderr.write(
        "".join(
            f"{name}: {value(found['fleetmark'], name):.3f} of our clients, {value(found['vllm-bench'], name):.3f} of vllm bench serve\n"
            for name in ("requests_per_s", "latency_ms_p50", "ttft_ms_p50", "tpot_ms_p50", "tokens_per_second")
        )
    )
    assert 0.4 < ratio < 2.5
