from __future__ import annotations

from itertools import pairwise

import numpy as np
import psutil
import pytest

from worker.hardware.caches import LastLevelCache
from worker.hardware_tests import chase, cpu_bandwidth, cpu_flops, cpu_latency
from worker.hardware_tests.base import Share


def test_a_triad_of_numpy_is_what_a_triad_with_s_of_minus_1_is() -> None:
    a, b, c = np.random.default_rng(1).standard_normal((3, 1_001))
    kernels = cpu_bandwidth._kernels(a, b, c, with_torch=False)
    kernels["triad"]()
    assert np.array_equal(a, b + -1.0 * c)
    kernels["add"]()
    assert np.array_equal(c, a + b)
    kernels["copy"]()
    assert np.array_equal(c, a)


def test_values_stay_finite_in_any_number_of_rounds() -> None:
    kernels = cpu_bandwidth._kernels(*cpu_bandwidth._arrays(8), with_torch=False)
    for _ in range(3_000):
        for kernel in kernels.values():
            kernel()  # a warning of an overflow would be an error here


def test_an_array_begins_at_a_large_page_and_holds_its_value() -> None:
    array = cpu_bandwidth._aligned(1_001, 2.0)
    assert array.ctypes.data % (2 * 2**20) == 0
    assert array.tolist() == [2.0] * 1_001


@pytest.mark.parametrize(("most", "counts"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_threads_are_doubled_up_to_all_cores(most: int, counts: list[int]) -> None:
    assert cpu_bandwidth._thread_counts(most) == counts


def test_bytes_are_counted_as_stream_counts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class OneSecond:
        def __init__(self, *_arguments: object) -> None: ...

        def run(self, _share: Share, _least: int) -> dict[str, list[float]]:
            return {name: [9.0, 1.0, 2.0] for name in cpu_bandwidth.BYTES}

    monkeypatch.setattr(cpu_bandwidth, "Team", OneSecond)
    rates = cpu_bandwidth._measure(4, 10**9, Share(1), with_torch=False)
    assert rates == {"copy": [16.0, 8.0], "add": [24.0, 12.0], "triad": [24.0, 12.0]}


def test_arrays_that_do_not_fit_into_the_memory_are_not_measured_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_bandwidth, "read_last_level_cache", lambda: LastLevelCache(psutil.virtual_memory().total, "this test"))
    found = cpu_bandwidth.CpuBandwidth().run(Share(1))
    assert {reading.value for reading in found.readings} == {None}
    assert "is more than half of the free memory" in found.readings[0].missing


def test_the_chain_of_memory_loads_visits_every_node_once_in_no_order_of_addresses() -> None:
    nodes = chase._chain(1_000)
    place = {id(node): index for index, node in enumerate(nodes)}
    node, visited = nodes[0], []
    for _ in range(1_000):
        visited.append(place[id(node)])
        node = node.next
    assert node is nodes[0]
    assert sorted(visited) == list(range(1_000))
    steps = [after - before for before, after in pairwise(visited)]
    assert sum(step == 1 for step in steps) < 20
    assert chase._walk(nodes[0], 3) is nodes[visited[3 * chase.STEPS]]
    chase._unlink(nodes)


def test_a_chain_that_would_take_too_long_to_make_is_not_measured_and_said() -> None:
    assert "which take longer to make" in cpu_latency._why_not(cpu_latency.MOST_NODES, 2**40)
    assert cpu_latency._why_not(2**20, 2**24) == ""


@pytest.mark.alone
def test_a_load_from_memory_takes_longer_than_one_from_a_cache() -> None:
    far, near = (min(chase.chase(nodes, Share(0.2)).steps_ns) for nodes in (2**19, 2**8))
    assert far > 10
    assert far > 5 * near


def test_a_cpu_says_why_it_has_no_fp8_and_no_tf32_and_the_rest_needs_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_flops, "find_spec", lambda _name: None)
    why = {name: cpu_flops._precision(name).why_not for name in cpu_flops.PRECISIONS}
    assert (why["fp64"], why["fp32"]) == ("", "")
    assert why["fp8"].startswith("CPUs have no units for fp8")
    assert "NVIDIA" in why["tf32"]
    assert why["bf16"] == why["int8"] == cpu_flops.WITHOUT_TORCH


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_the_factors_are_random_normal_numbers(kind: type) -> None:
    product = cpu_flops._numpy_product(256, kind)()
    assert isinstance(product, np.ndarray)
    assert product.dtype == kind
    assert float(np.std(product)) == pytest.approx(16.0, rel=0.05)  # this is the square root of 256
