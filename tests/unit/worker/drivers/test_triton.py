"""Tests the driver of Triton with a double of the server: what is sent, what is refused, and what the server counted.

`tests/services/test_triton.py` does the same with the real server, in `make test-services`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.errors import EngineUnavailable, JobError
from shared.figures import Figure, Outcome
from shared.kinds.load import LoadSpec
from shared.workloads import Workload
from tests.load_servers import HttpTruth, http_truth
from tests.triton_double import COMPUTE_NS, QUEUE_NS, Model, TritonDouble, triton_double
from worker.drivers.base import Work
from worker.drivers.triton import TritonDriver
from worker.kinds.base import Repeat
from worker.kinds.load import LoadMeasure
from worker.measured.request import RunRequest


@pytest.fixture
def server() -> Iterator[TritonDouble]:
    with triton_double(TritonDouble()) as double:
        yield double


def prepared(server: TritonDouble, **settings: Any) -> dict[str, Any]:
    return asyncio.run(TritonDriver(Work(f"http://127.0.0.1:{server.port}", settings)).prepare())


def refusal(server: TritonDouble, **settings: Any) -> str:
    with pytest.raises(JobError) as raised:
        prepared(server, **settings)
    return raised.value.detail


def test_the_only_model_is_found_and_its_inputs_follow_its_metadata(server: TritonDouble) -> None:
    found = prepared(server, batch_size=3, payload_size_bytes=1_200)
    assert found["model"] == {"name": "identity", "versions": ["1"], "platform": "python"}
    assert found["inputs"] == [{"name": "INPUT", "datatype": "FP32", "shape": [3, 100]}]
    assert (found["payload_bytes"], found["bodies"], found["server"]) == (1_200, 64, {"triton": "2.51.0"})
    assert server.shapes == [[3, 100]]
    assert server.sizes == [1_200]


@pytest.mark.parametrize("encoding", ["binary", "json"])
@pytest.mark.parametrize("datatype", ["FP32", "INT64", "BYTES", "BOOL"])
def test_the_server_accepts_every_encoding_of_a_type(server: TritonDouble, datatype: str, encoding: str) -> None:
    server.models = [Model(datatype=datatype, shape=(-1, 4))]
    prepared(server, encoding=encoding, model_version="1")
    assert server.inferences == 1


def test_each_mistake_is_one_sentence(server: TritonDouble) -> None:
    assert "unknown model: 'other' is not found" in refusal(server, model="other")
    server.models = [Model("a"), Model("b"), Model("c", state="UNAVAILABLE")]
    assert "has 2 models ready (a, b); name one with client.settings.model" in refusal(server)
    server.models = []
    assert "has no model ready; name one" in refusal(server)
    server.ready = False
    assert "is not ready: status 400" in refusal(server)


def test_an_address_that_is_no_server_of_kserve_says_so() -> None:
    with http_truth(HttpTruth()) as truth, pytest.raises(EngineUnavailable, match="it is no server of KServe v2"):
        asyncio.run(TritonDriver(Work(f"http://127.0.0.1:{truth.port}", {})).prepare())


def measure(server: TritonDouble, folder: Path, **settings: Any) -> Outcome:
    content = {
        "service": {"type": "triton"},
        "client": {"type": "triton", "settings": settings},
        "phases": [{"name": "requests", "operations": {"infer": 1.0}, "count": 60, "duration_s": None}],
        "concurrent_clients": 2,
    }
    spec = LoadSpec.model_validate(content, strict=False).model_dump(mode="json")
    asked = RunRequest("load", "service.triton", spec, str(folder / "1.record"), address=f"http://127.0.0.1:{server.port}")
    record = LoadMeasure().run(asked, lambda _phase: None)
    workload = Workload.model_validate({"kind": "load", **spec, "repeats": 1}, strict=False)
    outcome = LoadMeasure().derive(workload, [Repeat(record, 1.8e9)], [], "").outcome
    assert outcome is not None
    return outcome


@pytest.mark.long
def test_a_load_tells_the_time_in_the_servers_queue_apart_from_its_computing(server: TritonDouble, tmp_path: Path) -> None:
    figures: dict[str, Figure] = {figure.name: figure for figure in measure(server, tmp_path).figures}
    assert figures["success_rate"].value == 100
    assert figures["server_queue_ms"].value == pytest.approx(QUEUE_NS / 1e6)
    assert figures["server_compute_ms"].value == pytest.approx(COMPUTE_NS / 1e6)
    assert figures["server_requests_per_execution"].value == pytest.approx(2, rel=0.05)
    assert figures["client_ceiling_per_s"].value is not None
    assert len(set(server.bodies)) > 30, "the requests differ, so that no cache answers"


@pytest.mark.long
def test_a_server_without_statistics_costs_the_figures_of_the_server_alone(server: TritonDouble, tmp_path: Path) -> None:
    server.tells = False
    outcome = measure(server, tmp_path)
    figures: dict[str, Figure] = {figure.name: figure for figure in outcome.figures}
    assert (figures["success_rate"].value, outcome.detail["requests"]) == (100, 60)
    assert (figures["server_queue_ms"].value, figures["server_compute_ms"].value) == (None, None)
    assert "did not tell what it has counted" in figures["server_queue_ms"].missing
    assert (outcome.detail["client_processes"]["died"], outcome.detail["left_behind"]) == ([], [])
