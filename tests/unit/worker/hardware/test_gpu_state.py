from __future__ import annotations

import sys

import pytest

from tests.sampled import UUIDS, FakeGpu, NvmlDouble
from worker.hardware.gpu_state import GpuWatch, seen_on_gpu

GPU_IS_LOST = NvmlDouble.NVML_ERROR_GPU_IS_LOST


def _processes(monkeypatch: pytest.MonkeyPatch, *gpus: FakeGpu) -> frozenset[int] | None:
    monkeypatch.setitem(sys.modules, "pynvml", NvmlDouble(*gpus))
    watch = GpuWatch()
    found = watch.state(processes=True).processes
    watch.close()
    return found


def test_processes_are_unknown_if_no_gpu_could_be_asked_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _processes(monkeypatch, FakeGpu(UUIDS[0], unopened=GPU_IS_LOST))
    assert found is None
    assert seen_on_gpu(found, found) is None, "an empty list would say that no other process was there"


def test_processes_are_unknown_if_one_of_two_gpus_could_not_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _processes(monkeypatch, FakeGpu(UUIDS[0]), FakeGpu(UUIDS[1], unopened=GPU_IS_LOST)) is None


def test_processes_of_all_gpus_that_were_asked_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _processes(monkeypatch, FakeGpu(UUIDS[0], pids=[7]), FakeGpu(UUIDS[1], pids=[7, 9])) == frozenset({7, 9})
    assert _processes(monkeypatch, FakeGpu(UUIDS[0])) == frozenset()
