"""Tests the driver and the service of Triton with the real server, which the worker starts on a model that gives its input back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers import free_port
from tests.services.one_load import load_once

pytestmark = pytest.mark.long
CONFIG = """
name: "{name}"
backend: "python"
max_batch_size: {batch}
input [{{ name: "INPUT", data_type: {type}, dims: [ {dims} ] }}]
output [{{ name: "OUTPUT", data_type: {type}, dims: [ {dims} ] }}]
instance_group [{{ kind: KIND_CPU }}]
"""
MODEL = """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        inputs = [pb_utils.get_input_tensor_by_name(one, "INPUT").as_numpy() for one in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT", one)]) for one in inputs]
"""
RECIPE = """
service: {type: triton, settings: {model_repo: %s, metrics_port: %d}}
client: {type: triton_stress, settings: {model: %s, concurrent_clients: 2, warmup_delay: 0%s}}
benchmarks: {num_clients: 2, repeats: 1}
load: {count: 300}
warmup: {min_s: 0.3}
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    for name, batch, kind, dims in (("floats", 8, "TYPE_FP32", -1), ("texts", 0, "TYPE_STRING", 2)):
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "config.pbtxt").write_text(CONFIG.format(name=name, batch=batch, type=kind, dims=dims))
        (folder / name / "1" / "model.py").write_text(MODEL)
    return folder


@pytest.mark.parametrize(
    ("model", "settings", "shape", "payload"),
    [
        ("floats", "", [1, 1], 4),
        ("floats", ", payload_size_bytes: 40_000, batch_size: 4", [4, 2500], 40_000),
        ("floats", ", encoding: json, payload_size_bytes: 40", [1, 10], 40),
        ("texts", ", payload_size_bytes: 1000", [2], 1_000),
    ],
)
def test_a_load_on_a_triton_that_the_worker_starts_has_its_figures(
    repository: Path, tmp_path: Path, model: str, settings: str, shape: list[int], payload: int
) -> None:
    outcome, ended = load_once(tmp_path / "worker", RECIPE % (repository, free_port(), model, settings))
    value = {figure.name: figure.value for figure in outcome.figures}
    prepared = outcome.detail["prepared"]
    assert (value["success_rate"], outcome.detail["requests"]) == (100, 300)
    assert (prepared["inputs"][0]["shape"], prepared["payload_bytes"]) == (shape, payload)
    assert prepared["server"]["triton"].startswith("2.")
    queue, compute, latency = value["server_queue_ms"], value["server_compute_ms"], value["latency_ms_avg"]
    assert queue is not None
    assert compute is not None
    assert latency is not None
    assert 0 < queue + compute < 1.5 * latency, "the server's own times are a part of what the client sees"
    before, after = ended.runtime["service"]["counters"]
    assert after[f"{model}/1 inference_count"] - before.get(f"{model}/1 inference_count", 0) >= 300
    assert ended.runtime["service"]["health"]["ok"]
