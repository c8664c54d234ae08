"""Tests the CUDA tests on a double of torch whose speeds are known. No GPU is needed, and none is used."""

from __future__ import annotations

import sys

import pytest

from shared.errors import EngineUnavailable
from tests.cuda_double import Speeds, cuda_torch, install
from tests.nvml_double import Card, nvml
from worker.hardware_tests import cuda_bandwidth
from worker.hardware_tests.base import Readings, Share
from worker.hardware_tests.cuda import open_cuda
from worker.hardware_tests.cuda_bandwidth import CudaBandwidth
from worker.hardware_tests.cuda_flops import CudaFlops
from worker.hardware_tests.cuda_latency import CudaLatency


@pytest.fixture(autouse=True)
def driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(Card(uuid="GPU-1234", reasons=0x04 | 0x40)))


def value(found: Readings, name: str) -> float:
    measured = found.value(name)
    assert measured is not None, name
    return measured


def test_bandwidth_and_links_are_those_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    found = CudaBandwidth().run(Share(20))
    for name in ("copy", "add", "triad", "peak"):
        assert value(found, f"{name}_gb_per_s") == pytest.approx(2_000, rel=0.01), name
    assert value(found, "host_to_device_pinned_gb_per_s") == pytest.approx(50, rel=0.01)
    assert value(found, "device_to_host_pinned_gb_per_s") == pytest.approx(40, rel=0.01)
    assert value(found, "host_to_device_pageable_gb_per_s") == pytest.approx(20, rel=0.01)
    assert value(found, "device_to_host_pageable_gb_per_s") == pytest.approx(16, rel=0.01)
    assert found.facts["array_bytes"] == 2**30
    assert found.facts["uuid"] == "GPU-1234"


def test_an_array_is_four_times_as_large_as_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Speeds(l2_bytes=2**29))
    assert CudaBandwidth().run(Share(5)).facts["array_bytes"] == 2**31


def test_a_device_with_little_memory_says_so_and_still_measures_its_links(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Speeds(free_bytes=2**31))
    found = CudaBandwidth().run(Share(5))
    missing = {reading.name: reading.missing for reading in found.readings if reading.value is None}
    assert set(missing) == {"peak_gb_per_s", *(f"{name}{kind}_gb_per_s" for name in cuda_bandwidth.BYTES for kind in ("", "_median"))}
    assert "take 3072 MB, and 2048 MB of the device are free" in missing["copy_gb_per_s"]


def test_each_precision_has_the_speed_of_the_device_or_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    found = CudaFlops().run(Share(30))
    for name, tflops in {"fp64": 0.01, "fp32": 0.02, "tf32": 0.04, "bf16": 0.08, "fp16": 0.08, "int8": 0.16}.items():
        assert value(found, f"{name}_tflops") == pytest.approx(tflops, rel=0.01), name
        assert value(found, f"{name}_burst_tflops") == pytest.approx(tflops, rel=0.01), name
    fp8 = next(reading for reading in found.readings if reading.name == "fp8_tflops")
    assert fp8.value is None
    assert fp8.missing == (
        "torch 2.13.0 does not multiply fp8 on cuda: torch._scaled_mm is only supported on CUDA devices with compute capability >= 9.0 or "
        "8.9, or ROCm MI300+"
    )
    assert found.facts["bf16_to_fp32"] == pytest.approx(4, rel=0.01)
    seen = found.facts["by_precision"]["fp64"]
    assert seen["reasons_for_a_slower_clock"] == ["heat (hardware)", "power limit"]
    assert (seen["clock_mhz_median"], seen["clock_mhz_possible"], seen["power_w_average"]) == (1_755, 1_980, 75.5)


def test_a_device_from_before_tf32_does_not_give_fp32_that_name(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Speeds(capability=(7, 5)))
    found = CudaFlops().run(Share(5))
    tf32 = next(reading for reading in found.readings if reading.name == "tf32_tflops")
    assert (tf32.value, tf32.missing) == (None, "GPUs have tf32 from compute capability 8.0 on; NVIDIA Double has 7.5")


def test_launches_cost_what_the_device_takes_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Speeds(launch_s=50e-6, shortest_kernel_s=10e-6))
    found = CudaLatency().run(Share(5))
    assert value(found, "kernel_launch_us") == pytest.approx(50, rel=0.01)
    assert value(found, "kernel_round_trip_us") == pytest.approx(50, rel=0.01)


@pytest.mark.parametrize(
    ("torch", "why"),
    [
        (None, "hardware.cuda needs torch, which cannot be imported"),
        (cuda_torch(available=False, cuda=None), r"hardware.cuda: torch 2\.13\.0 was built without CUDA"),
        (cuda_torch(available=False), r"hardware.cuda: torch 2\.13\.0 \(CUDA 13\.0\) sees no device"),
    ],
)
def test_no_cuda_is_a_sentence(torch: object, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", torch)
    with pytest.raises(EngineUnavailable, match=why):
        open_cuda()
