"""Tests which workers can run a job, and to which queues it may be sent."""

from __future__ import annotations

from orchestrator.domain.placement import Fleet, KnownWorker, Place, places_for
from shared.recipes import Requirements

ANY = Requirements()
CUDA = KnownWorker("worker-a", "a", ("gpu.cuda.onnx",), gpu_memory_mb=80_000)
ROCM = KnownWorker("worker-b", "b", ("gpu.rocm.onnx", "cpu.onnx"))


def test_a_capability_is_its_own_queue() -> None:
    assert places_for("cpu.onnx", None, ANY, Fleet([ROCM])) == ([Place("cpu.onnx", "cpu.onnx")], "")


def test_a_label_may_go_to_each_of_its_capabilities_that_a_worker_serves() -> None:
    cuda, rocm = Place("gpu.cuda.onnx", "gpu.cuda.onnx"), Place("gpu.rocm.onnx", "gpu.rocm.onnx")
    assert places_for("GPU (ONNX)", None, ANY, Fleet([ROCM, CUDA])) == ([cuda, rocm], "")
    assert places_for("GPU (ONNX)", None, ANY, Fleet([ROCM])) == ([rocm], "")


def test_with_nobody_alive_the_job_waits_and_says_for_what() -> None:
    places, reason = places_for("GPU (ONNX)", None, ANY, Fleet([]))
    assert (places, reason) == ([], "waiting for a worker with gpu.cuda.onnx, gpu.rocm.onnx or gpu.directml.onnx")


def test_a_device_that_rests_is_named_in_what_the_job_waits_for() -> None:
    _, reason = places_for("cpu.onnx", None, ANY, Fleet([CUDA]), Fleet([ROCM]))
    assert reason == "waiting for a worker with cpu.onnx (b in quarantine)"


def test_requirements_choose_devices_and_their_private_queues() -> None:
    big = Requirements(min_gpu_memory_mb=40_000)
    assert places_for("GPU (ONNX)", None, big, Fleet([CUDA, ROCM])) == ([Place("worker.worker-a", "gpu.cuda.onnx")], "")
    places, reason = places_for("GPU (ONNX)", None, big, Fleet([ROCM]))
    assert places == []
    assert "'min_gpu_memory_mb': 40000" in reason


def test_a_device_is_named_by_its_id_or_its_name() -> None:
    for name in ("b", "worker-b"):
        assert places_for("cpu.onnx", name, ANY, Fleet([CUDA, ROCM]))[0] == [Place("worker.worker-b", "cpu.onnx")]
