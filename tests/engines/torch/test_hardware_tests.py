"""Tests what the hardware tests compute with a real torch, in its build for the CPU."""

from __future__ import annotations

import numpy as np
import pytest

from worker.hardware.caches import LastLevelCache
from worker.hardware_tests import cpu_bandwidth, products
from worker.hardware_tests.base import Share
from worker.hardware_tests.cpu_bandwidth import CpuBandwidth, _triad_of_torch
from worker.hardware_tests.cpu_flops import CpuFlops


def test_a_triad_of_torch_computes_what_a_triad_is() -> None:
    b, c = np.random.default_rng(1).standard_normal((2, 1_001))
    a = np.zeros(1_001)
    _triad_of_torch(a, b, c)()
    assert np.allclose(a, b + cpu_bandwidth.SCALAR * c, rtol=1e-15)


def test_the_bandwidth_test_says_that_torch_computed_the_triad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_bandwidth, "read_last_level_cache", lambda: LastLevelCache(2**18, "this test"))
    monkeypatch.setattr(cpu_bandwidth, "SMALLEST_ARRAY", 2**20)
    found = CpuBandwidth().run(Share(0.2))
    assert found.facts["triad_by"] == "torch.add, with s = 0.5, in one loop over memory"
    assert (found.value("triad_gb_per_s") or 0) > 0


def test_every_precision_but_tf32_and_fp8_is_measured_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "LONG_ENOUGH_S", 0.001)
    found = CpuFlops().run(Share(1))
    missing = {reading.name for reading in found.readings if reading.value is None}
    assert missing == {f"{name}{kind}_tflops" for name in ("tf32", "fp8") for kind in ("", "_burst")}
    assert found.facts["bf16_to_fp32"] > 0
    assert found.facts["by_precision"]["bf16"]["library"].startswith("torch 2.")
