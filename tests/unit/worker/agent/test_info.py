from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from shared.errors import InvalidInput
from shared.workers import WorkerStatus
from tests.servers import free_port
from worker.activity import Snapshot
from worker.agent.info import MAX_CONNECTIONS, InfoServer, Vitals, _gpu, cached_models, describe, open_info_server
from worker.hardware import Hardware, detect
from worker.hardware.gpus import Gpu, Gpus
from worker.hardware_tests.last import LastFigures, keep, read
from worker.settings import load_settings

WORKING = Vitals("worker-1", True, Snapshot(WorkerStatus.BUSY, ("job-1", 1), "measure", 0.25), datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture(scope="module")
def hardware() -> Hardware:
    return detect()


@pytest.fixture
def vitals() -> list[Vitals]:
    return [WORKING]


@pytest.fixture
def server(hardware: Hardware, vitals: list[Vitals], tmp_path: Path) -> Iterator[InfoServer]:
    settings = load_settings(worker_port=free_port(), worker_name="lab-pi", worker_cache_dir=tmp_path)
    opened = open_info_server(settings, hardware, lambda: vitals[-1], "1.2.3")
    assert opened is not None
    yield opened
    opened.close()


def test_info_has_the_shape_of_the_contract(server: InfoServer, hardware: Hardware) -> None:
    body = httpx.get(f"{server.address}/api/v1/info", verify=False).raise_for_status().json()
    assert body["agent_id"] == "worker-1"
    assert body["agent_type"] == "white_box"
    info = body["system_info"]
    assert set(info) >= {"system", "cpu", "memory", "gpus", "frameworks", "models", "metrics"}
    assert info["system"]["hostname"] == socket.gethostname()
    assert info["cpu"]["cores_physical"] == hardware.cpu.cores_physical
    assert {"latency", "throughput", "memory_usage"} <= set(info["metrics"])
    assert {"name", "version", "gpu_support"} <= set(info["frameworks"][0])
    assert [offer["offered"] for offer in info["capabilities"] if offer["capability"] == "cpu.onnx"] == [True]


H200 = Gpu(0, "NVIDIA H200", "GPU-1", 143_771.0, 143_000.0, "9.0", 4, ("FP16", "FP8"), 31.0, 75.5, 0.0, ecc=True, mig=False)


def test_a_gpu_shows_what_is_known_and_null_for_what_was_not_measured() -> None:
    shown = _gpu(H200, [])
    assert {"name", "memory_total_mb", "memory_free_mb", "compute_capability", "tensor_core_generation", "temperature_c"} <= set(shown)
    assert (shown["ecc"], shown["mig"], shown["power_usage_w"], shown["utilization_gpu"]) == (True, False, 75.5, 0.0)
    assert shown["benchmark_results"] == {
        "measured_at": None,
        "memory_bandwidth": None,
        "compute_performance": None,
        "tensor_core_capabilities": {"generation": 4, "supported_precisions": ["FP16", "FP8"]},
    }


def test_the_last_measured_figures_are_shown_with_the_device_that_they_are_of(hardware: Hardware, tmp_path: Path) -> None:
    def figures(**values: float | None) -> dict[str, dict[str, object]]:
        return {name: {"unit": "any", "value": value, "missing": ""} for name, value in values.items()}

    facts = {"flops": {"by_precision": {"fp32": {"size": 20_000, "seconds_per_call": 0.25}}}}
    keep(tmp_path, LastFigures("hardware.cuda", "GPU-1", "2026-11-30T06:00:00+00:00", figures(fp32_tflops=50.0, fp8_tflops=None), facts))
    keep(tmp_path, LastFigures("hardware.cuda", "GPU-1", "2026-11-30T07:00:00+00:00", figures(peak_gb_per_s=4_000.0), {}))
    keep(tmp_path, LastFigures("hardware.cpu", "", "2026-11-30T08:00:00+00:00", figures(peak_gb_per_s=20.0), {}))
    settings = load_settings(worker_cache_dir=tmp_path)
    with_gpus = replace(hardware, gpus=Gpus((H200, replace(H200, uuid="GPU-2")), said={"NVML": "2 found"}))
    info = describe(with_gpus, settings, agent_id="worker-1", version="1")["system_info"]
    measured, other = (gpu["benchmark_results"] for gpu in info["gpus"])
    assert measured["memory_bandwidth"] == {"peak_bandwidth_gb_s": 4_000.0}
    assert measured["compute_performance"] == {"FP32": {"tflops": 50.0, "burst_tflops": None, "avg_time_ms": 320.0}}, "at 50 TFLOP/s"
    assert measured["measured_at"] == "2026-11-30T07:00:00+00:00"
    assert other["memory_bandwidth"] is None
    assert info["cpu"]["benchmark_results"]["memory_bandwidth"] == {"peak_bandwidth_gb_s": 20.0}
    assert json.loads(json.dumps(info["gpu_sources"])) == {"NVML": "2 found"}


def test_kept_figures_that_cannot_be_read_are_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keep(tmp_path, LastFigures("hardware.cpu", "", "2026-11-30T08:00:00+00:00", {}, {}))
    (kept,) = (tmp_path / "hardware").iterdir()
    kept.write_text(kept.read_text().replace('"format": 1', '"format": 99'))
    (tmp_path / "hardware" / "torn.json").write_text("{")
    assert read(tmp_path) == []
    assert "format 99 is not 1" in caplog.text
    assert "torn.json does not hold the figures of this device" in caplog.text


def test_health_follows_the_worker(server: InfoServer, vitals: list[Vitals]) -> None:
    well = httpx.get(f"{server.address}/health", verify=False)
    assert well.status_code == 200
    assert well.json()["worker_status"] == "busy"
    assert (well.json()["current_job"], well.json()["progress"]) == ("job-1", 0.25)
    vitals.append(Vitals("worker-1", False, Snapshot(), datetime(2026, 1, 1, tzinfo=UTC)))
    ill = httpx.get(f"{server.address}/health", verify=False)
    assert (ill.status_code, ill.json()["status"], ill.json()["broker_connected"]) == (503, "degraded", False)


def test_another_path_says_which_there_are(server: InfoServer) -> None:
    answer = httpx.get(f"{server.address}/nothing", verify=False)
    assert answer.status_code == 404
    assert "/api/v1/info" in answer.json()["detail"]


@pytest.mark.parametrize("name", ["evil.example", "10.0.0.7"])
def test_a_page_whose_name_resolves_to_this_device_hears_nothing(server: InfoServer, name: str) -> None:
    port = server.address.rpartition(":")[2]
    for path in ("/api/v1/info", "/health"):
        answer = httpx.get(server.address + path, headers={"Host": f"{name}:{port}"}, verify=False)
        assert (answer.status_code, answer.json()["error"]) == (403, "Forbidden")
    assert httpx.get(f"{server.address}/health", headers={"Host": f"localhost:{port}"}, verify=False).status_code == 200


def test_beyond_the_loopback_it_wants_the_token_of_the_worker(hardware: Hardware, tmp_path: Path) -> None:
    port = free_port()
    with pytest.raises(InvalidInput, match=r"0\.0\.0\.0.*FLEETMARK_TOKEN"):
        open_info_server(load_settings(worker_host="0.0.0.0", worker_port=port), hardware, lambda: WORKING, "1")
    settings = load_settings(worker_host="0.0.0.0", worker_port=port, worker_cache_dir=tmp_path, token="t0ken")
    opened = open_info_server(settings, hardware, lambda: WORKING, "1.2.3")
    assert opened is not None
    address = f"http://127.0.0.1:{port}"
    try:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic t0ken"}):
            refused = httpx.get(f"{address}/api/v1/info", headers=headers, verify=False)
            assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert httpx.get(f"{address}/health", headers=headers, verify=False).json() == {"status": "healthy"}
        right = {"Authorization": "Bearer t0ken"}
        assert httpx.get(f"{address}/api/v1/info", headers=right, verify=False).json()["agent_id"] == "worker-1"
        assert httpx.get(f"{address}/health", headers=right, verify=False).json()["current_job"] == "job-1"
    finally:
        opened.close()


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_it_listens_on_the_loopback_of_ipv6_too(hardware: Hardware, tmp_path: Path, host: str) -> None:
    settings = load_settings(worker_host=host, worker_port=free_port(), worker_cache_dir=tmp_path)
    opened = open_info_server(settings, hardware, lambda: WORKING, "1.2.3")
    assert opened is not None
    try:
        assert opened.address == f"http://[::1]:{settings.worker_port}"
        assert httpx.get(f"{opened.address}/health", verify=False).json()["agent_id"] == "worker-1"
    finally:
        opened.close()


def test_every_address_means_those_of_ipv4_too(hardware: Hardware, tmp_path: Path) -> None:
    settings = load_settings(worker_host="::", worker_port=free_port(), worker_cache_dir=tmp_path, token="t0ken")
    opened = open_info_server(settings, hardware, lambda: WORKING, "1.2.3")
    assert opened is not None
    try:
        for name in ("127.0.0.1", "[::1]"):
            assert httpx.get(f"http://{name}:{settings.worker_port}/health", verify=False).json() == {"status": "healthy"}
    finally:
        opened.close()


def test_an_empty_address_is_the_default_and_not_every_address() -> None:
    assert load_settings(worker_host="").worker_host == "127.0.0.1"


def test_a_model_that_is_evicted_while_the_cache_is_listed_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / ("a" * 64)).write_bytes(b"12345")
    (tmp_path / "blobs" / ("b" * 64)).symlink_to(tmp_path / "gone")  # the link has a name, but the file behind it does not exist
    assert cached_models(tmp_path) == [{"sha256": "a" * 64, "size": 5}]


def test_a_crowd_takes_no_more_threads_than_there_are_places(server: InfoServer) -> None:
    port = int(server.address.rpartition(":")[2])
    crowd = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(MAX_CONNECTIONS)]
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as one_more:
            assert one_more.recv(1) == b""
    finally:
        for connection in crowd:
            connection.close()
    deadline = time.monotonic() + 60
    while True:  # the server notices free places after a moment
        try:
            assert httpx.get(f"{server.address}/health", verify=False).status_code == 200
        except httpx.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            break


def test_port_zero_turns_it_off(hardware: Hardware) -> None:
    assert open_info_server(load_settings(worker_port=0), hardware, Vitals, "1") is None


def test_a_taken_port_is_named_with_the_way_to_another(hardware: Hardware) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InvalidInput, match=rf"{port}.*--http-port"):
            open_info_server(load_settings(worker_port=port), hardware, Vitals, "1")


def test_cached_models_are_listed_by_their_content(tmp_path: Path) -> None:
    assert cached_models(tmp_path) == []
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / ("a" * 64)).write_bytes(b"model")
    (tmp_path / "blobs" / "something.tmp").write_bytes(b"no model")
    assert cached_models(tmp_path) == [{"sha256": "a" * 64, "size": 5}]
