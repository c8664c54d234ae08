"""Tests that every hardware test, including the fake one, keeps its promises to the measured process."""

from __future__ import annotations

import inspect
import json
import math
import sys
from time import perf_counter

import pytest

from shared import capabilities
from shared.errors import EngineUnavailable
from shared.kinds import hardware
from tests.cuda_double import install
from worker.hardware.caches import LastLevelCache
from worker.hardware_tests import cpu_bandwidth, cpu_latency, cuda_bandwidth, cuda_latency, products
from worker.hardware_tests.base import ENDINGS, HardwareTest, Reading, Readings, Share
from worker.hardware_tests.registry import TESTS, entries, resolve

ALL = [(capability, name) for capability, tests in TESTS.items() for name in tests]
LOWER_IS_BETTER = frozenset({"ns", "us", "ms", "s"})


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make everything small. The figures then have no meaning, but they must have the right form."""
    monkeypatch.setitem(sys.modules, "torch", None)
    for module in (cpu_bandwidth, cpu_latency):
        monkeypatch.setattr(module, "read_last_level_cache", lambda: LastLevelCache(2**18, "this test"))
        monkeypatch.setattr(module, "find_spec", lambda _name: None, raising=False)
    monkeypatch.setattr(cpu_bandwidth, "SMALLEST_ARRAY", 2**20)
    monkeypatch.setattr(cpu_latency, "SMALLEST_CHAIN", 2**20)
    monkeypatch.setattr(cpu_latency, "WAKE_UPS", 20)
    monkeypatch.setattr(products, "LONG_ENOUGH_S", 0.002)
    monkeypatch.setattr(cuda_bandwidth, "LINK_BYTES", 2**24)
    monkeypatch.setattr(cuda_latency, "CALLS", 20)


def run(capability: str, name: str, monkeypatch: pytest.MonkeyPatch) -> Readings:
    if capability == "hardware.cuda":
        install(monkeypatch)
    return resolve(TESTS[capability][name])().run(Share(0.2))


@pytest.mark.parametrize(("capability", "name"), ALL)
def test_each_figure_has_a_value_or_says_why_it_has_none(capability: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(capability, name, monkeypatch)
    names = [reading.name for reading in found.readings]
    assert names
    assert len(set(names)) == len(names)
    for reading in found.readings:
        assert reading.name.endswith(f"_{ENDINGS.get(reading.unit, reading.unit)}")
        assert reading.better == ("lower" if reading.unit in LOWER_IS_BETTER else "higher")
        if reading.value is None:
            assert len(reading.missing.split()) > 3, reading
        else:
            assert not reading.missing
            assert math.isfinite(reading.value)
            assert reading.value > 0
    assert any(reading.value is not None for reading in found.readings)


@pytest.mark.parametrize(("capability", "name"), ALL)
def test_what_a_test_returns_survives_the_way_through_json(capability: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(capability, name, monkeypatch)
    assert Readings.from_json(json.loads(json.dumps(found.as_json()))) == found


@pytest.mark.parametrize(("capability", "name"), ALL)
def test_the_figures_are_the_same_ones_whatever_can_be_measured(capability: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device with little memory has the same figures, so that a table of devices has the same columns."""
    names = [reading.name for reading in run(capability, name, monkeypatch).readings]
    for module in (cpu_bandwidth, cpu_latency):
        monkeypatch.setattr(module, "read_last_level_cache", lambda: LastLevelCache(2**50, "this test"))
    monkeypatch.setattr(cuda_bandwidth, "SMALLEST_ARRAY", 2**50)
    assert [reading.name for reading in run(capability, name, monkeypatch).readings] == names


@pytest.mark.alone
@pytest.mark.parametrize(("capability", "name"), ALL)
def test_a_test_stays_near_its_share_of_the_time(capability: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = perf_counter()
    run(capability, name, monkeypatch)
    assert perf_counter() - begin < 5.0


@pytest.mark.parametrize(("capability", "name"), ALL)
def test_every_entry_has_the_method_of_the_port(capability: str, name: str) -> None:
    wanted = inspect.signature(HardwareTest.run)
    assert list(inspect.signature(resolve(TESTS[capability][name]).run).parameters) == list(wanted.parameters)


def test_a_recipe_may_name_exactly_the_tests_that_a_worker_may_have() -> None:
    of_devices = [names for capability, names in TESTS.items() if capability in capabilities.LABELS]  # the fake one has no label
    assert set(hardware.TESTS) == {name for names in of_devices for name in names}
    assert all(set(hardware.STANDARD) <= names.keys() for names in of_devices), "what a recipe measures without naming it runs everywhere"


def test_an_unknown_test_or_capability_is_refused_with_the_known_ones() -> None:
    with pytest.raises(EngineUnavailable, match=r"hardware\.cpu has no test 'bandwith': did you mean 'bandwidth'\? Known: "):
        entries("hardware.cpu", ("bandwith",))
    with pytest.raises(EngineUnavailable, match=r"no hardware test measures 'cpu\.onnx'\. Known: hardware\.cpu"):
        entries("cpu.onnx", ("bandwidth",))


def test_calls_of_a_unit_that_is_no_time_and_no_rate_are_refused() -> None:
    with pytest.raises(ValueError, match=r"fan_percent is in 'percent'; single calls are only kept of figures in 1/s, MB/s, GB/s"):
        Reading("fan_percent", "percent", "lower", 3.0, calls=(3.0,))
    assert Reading("fan_percent", "percent", "lower", 3.0).series() == "fan_percent"
    assert Reading("hash_per_s", "1/s", "higher", 500.0, calls=(500.0,)).durations_ns() == [2_000_000]


def test_a_missing_library_is_a_sentence() -> None:
    with pytest.raises(EngineUnavailable, match=r"the test 'flops' of hardware\.cuda needs torch, which is not installed on this device"):
        entries("hardware.cuda", ("flops",))
