"""Tests NVIDIA's GPUs against a double of the library `pynvml`, because the machines of the tests have no GPU."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import sampled
from tests.sampled import UUIDS, FakeGpu, NvmlDouble
from worker.samplers.base import Place, Sampler, Vanished
from worker.samplers.nvml import chosen_gpus
from worker.samplers.registry import lack_of, make

Open = Callable[..., tuple[NvmlDouble, Sampler, dict[str, int]]]


@pytest.fixture
def gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    def open_(*found: FakeGpu, **place: object) -> tuple[NvmlDouble, Sampler, dict[str, int]]:
        double = NvmlDouble(*found)
        monkeypatch.setitem(sys.modules, "pynvml", double)
        sampler = make("nvml", Place(sampled.with_driver(tmp_path), **place))  # type: ignore[arg-type]
        return double, sampler, {column.name: place for place, column in enumerate(sampler.open())}

    return open_


def test_units_are_those_of_the_columns(gpus: Open) -> None:
    _, sampler, at = gpus(FakeGpu(UUIDS[0], watts=312.5, joules=7_200.25, percent=88, memory_mb=4096, celsius=71))
    values = sampler.read()
    assert {name: values[place] for name, place in at.items()} == {
        "gpu0_percent": 88,
        "gpu0_memory_mb": 4096,
        "gpu0_power_w": 312.5,
        "gpu0_temperature_c": 71,
        "gpu0_sm_mhz": 1980,
        "gpu0_memory_mhz": 2619,
        "gpu0_throttle_reasons": 4,
        "gpu0_energy_j": 7_200.25,
        "gpu0_processes_of_job": 0,
    }


def test_what_a_gpu_does_not_support_is_null_with_the_driver_s_reason_and_asked_once(gpus: Open) -> None:
    double, sampler, at = gpus(FakeGpu(UUIDS[0], refuses={"energy", "utilization"}))
    calls = double.calls
    values = sampler.read()
    assert values[at["gpu0_energy_j"]] is None
    assert values[at["gpu0_power_w"]] == 250.0
    assert sampler.missing() == dict.fromkeys(("gpu0_percent", "gpu0_energy_j"), "the driver does not show it for this GPU: Not Supported")
    assert double.calls - calls == len(at) - 2


def test_one_gpu_that_is_lost_takes_its_columns_away_and_not_the_other_s(gpus: Open) -> None:
    double, sampler, at = gpus(FakeGpu(UUIDS[0]), FakeGpu(UUIDS[1]))
    sampler.read()
    double.gpus[0].error = NvmlDouble.NVML_ERROR_GPU_IS_LOST
    for _ in range(2):
        values = sampler.read()
        assert values[at["gpu0_power_w"]] is None
        assert values[at["gpu1_power_w"]] == 250.0
    double.gpus[0].error = None
    assert sampler.read()[at["gpu0_power_w"]] is None, "what comes back may be another driver's state"
    assert sampler.missing()["gpu0_energy_j"] == "NVML was lost while measuring: GPU is lost"
    assert "gpu1_energy_j" not in sampler.missing()


def test_when_every_gpu_is_lost_the_source_has_vanished(gpus: Open) -> None:
    double, sampler, _ = gpus(FakeGpu(UUIDS[0]))
    double.gpus[0].error = NvmlDouble.NVML_ERROR_UNKNOWN
    with pytest.raises(Vanished, match="NVML was lost while measuring: Unknown Error"):
        sampler.read()


def test_an_error_of_the_moment_is_one_null(gpus: Open) -> None:
    double, sampler, at = gpus(FakeGpu(UUIDS[0]))
    double.gpus[0].error = NvmlDouble.NVML_ERROR_TIMEOUT
    assert sampler.read()[at["gpu0_power_w"]] is None
    double.gpus[0].error = None
    assert sampler.read()[at["gpu0_power_w"]] == 250.0
    assert sampler.missing() == {}


QUESTIONS = {
    "utilization": {"gpu0_percent"},
    "memory": {"gpu0_memory_mb"},
    "power": {"gpu0_power_w"},
    "temperature": {"gpu0_temperature_c"},
    "clock": {"gpu0_sm_mhz", "gpu0_memory_mhz"},
    "throttle": {"gpu0_throttle_reasons"},
    "energy": {"gpu0_energy_j"},
    "processes": {"gpu0_processes_of_job"},
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_each_question_that_a_gpu_does_not_support_costs_its_own_columns(gpus: Open, question: str) -> None:
    _, sampler, at = gpus(FakeGpu(UUIDS[0], refuses={question}))
    values = sampler.read()
    assert {name for name, place in at.items() if values[place] is None} == QUESTIONS[question] == set(sampler.missing())


def test_an_error_that_goes_on_is_told_and_forgotten_when_it_is_over(gpus: Open) -> None:
    double, sampler, _ = gpus(FakeGpu(UUIDS[0]))
    double.gpus[0].error = NvmlDouble.NVML_ERROR_TIMEOUT
    for _ in range(10):
        assert sampler.missing() == {}
        sampler.read()
    assert sampler.missing()["gpu0_power_w"] == "the driver did not answer for this GPU any more: Timeout"
    double.gpus[0].error = None
    sampler.read()
    assert sampler.missing() == {}


def test_a_gpu_that_was_lost_before_leaves_the_others(gpus: Open) -> None:
    _, sampler, at = gpus(FakeGpu(UUIDS[0], unopened=NvmlDouble.NVML_ERROR_GPU_IS_LOST), FakeGpu(UUIDS[1]))
    values = sampler.read()
    assert (values[at["gpu0_power_w"]], values[at["gpu1_power_w"]]) == (None, 250.0)
    assert sampler.missing()["gpu0_energy_j"] == "NVML cannot open this GPU: GPU is lost"
    with pytest.raises(Vanished, match="NVML cannot open this GPU: GPU is lost"):
        gpus(FakeGpu(UUIDS[0], unopened=NvmlDouble.NVML_ERROR_GPU_IS_LOST))


@pytest.mark.parametrize(
    "error", [NvmlDouble.NVML_ERROR_GPU_IS_LOST, NvmlDouble.NVML_ERROR_UNKNOWN, NvmlDouble.NVML_ERROR_DRIVER_NOT_LOADED]
)
def test_a_gpu_that_is_lost_at_any_question_is_null_with_a_reason_and_the_other_gpu_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """The first GPU falls off the bus while the sampler opens, or within a reading, or between two of them."""
    for question in range(1, 45):
        double = NvmlDouble(FakeGpu(UUIDS[0]), FakeGpu(UUIDS[1]))
        double.fails_from = question, error
        monkeypatch.setitem(sys.modules, "pynvml", double)
        sampler = make("nvml", Place(sampled.with_driver(tmp_path)))
        columns = sampler.open()
        for _ in range(3):
            values = sampler.read()
        for column, value in zip(columns, values, strict=True):
            if column.name.startswith("gpu0"):
                assert value is None, (question, column.name)
                assert NvmlDouble.WORDS[error] in (sampler.missing().get(column.name) or column.missing), (question, column.name)
            else:
                assert value is not None, (question, column.name)
        sampler.close()
        assert double.open == 0


@pytest.mark.parametrize("divided", [True, False, None])
def test_the_energy_of_a_divided_gpu_is_not_taken_for_that_of_one_instance(gpus: Open, divided: bool | None) -> None:
    _, sampler, at = gpus(FakeGpu(UUIDS[0], divided=divided))
    roles = {column.name: column.role for column in sampler.open()}
    assert sampler.read()[at["gpu0_power_w"]] == 250.0
    assert roles["gpu0_energy_j"] == ("value" if divided else "energy")
    assert sampler.missing().get("gpu0_energy_of_instance_j", "").startswith("the GPU is divided into instances") == bool(divided)


def test_without_a_driver_the_library_is_not_even_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    double = NvmlDouble(FakeGpu(UUIDS[0]))
    monkeypatch.setitem(sys.modules, "pynvml", double)
    assert str(lack_of("nvml", Place(tmp_path))) == "no NVIDIA driver is loaded"
    assert double.calls == 0
    double.driver = False
    assert str(lack_of("nvml", Place(sampled.with_driver(tmp_path)))) == "NVML does not work: Driver Not Loaded"


def test_nvml_is_closed_as_often_as_it_was_opened(gpus: Open, tmp_path: Path) -> None:
    double, sampler, _ = gpus(FakeGpu(UUIDS[0]))
    lack_of("nvml", Place(tmp_path))
    sampler.close()
    sampler.close()
    assert double.open == 0


def test_a_single_gpu_is_the_job_s_and_several_are_told_apart_by_their_uuid(gpus: Open) -> None:
    _, sampler, _ = gpus(FakeGpu(UUIDS[0]), FakeGpu(UUIDS[1]), cuda_visible=UUIDS[1])
    chosen = {column.device: column.chosen for column in sampler.open()}
    assert chosen == {UUIDS[0]: False, UUIDS[1]: True}


@pytest.mark.parametrize(
    ("visible", "order", "chosen"),
    [
        (None, "", None),  # CUDA puts the fastest GPU first, and NVML does not tell which one that is
        (None, "PCI_BUS_ID", {UUIDS[0]}),
        ("1", "PCI_BUS_ID", {UUIDS[1]}),
        ("1", "", None),
        ("7", "PCI_BUS_ID", set()),
        ("GPU-9999", "", {UUIDS[1]}),
        (f"{UUIDS[1]},{UUIDS[0]}", "", {UUIDS[1]}),
        ("GPU-", "", set()),
        ("", "", set()),
        ("-1", "", set()),
        ("MIG-1234", "PCI_BUS_ID", None),  # this is an instance of one of the two
    ],
)
def test_the_first_device_of_cuda_is_found_where_it_can_be_known(visible: str | None, order: str, chosen: set[str] | None) -> None:
    assert chosen_gpus(UUIDS, visible, order) == chosen
    assert chosen_gpus(UUIDS[:1], None, "") == {UUIDS[0]}


def test_the_processes_on_a_gpu_tell_which_one_a_job_uses(gpus: Open) -> None:
    import os
    import subprocess

    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        _, sampler, at = gpus(FakeGpu(UUIDS[0], pids=[1]), FakeGpu(UUIDS[1], pids=[child.pid]), guard=os.getpid())
        values = sampler.read()
        assert (values[at["gpu0_processes_of_job"]], values[at["gpu1_processes_of_job"]]) == (0, 1)
        child.communicate(b"\n")
