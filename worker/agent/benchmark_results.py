"""Shows the last measured figures of a device in the form that `/api/v1/info` promises."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from worker.hardware.gpu import Gpu
from worker.hardware_tests.last import LastFigures

HEADLINES = ("peak_gb_per_s", "fp64_tflops", "fp32_tflops", "bf16_tflops", "memory_latency_ns")
PRECISIONS = ("fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "int8")


def of_cpu(last: Iterable[LastFigures]) -> dict[str, Any]:
    """Return what was measured last on the CPU. Each part is null until a `hardware.cpu` job has measured it."""
    return _measured(next((kept for kept in last if not kept.device), None))


def of_gpu(gpu: Gpu, last: Iterable[LastFigures]) -> dict[str, Any]:
    """Return what was measured last on this GPU, and what its tensor cores can do. A measurement without an id belongs to no GPU."""
    found = next((kept for kept in last if kept.device and kept.device == gpu.uuid), None)
    tensor_cores = {"generation": gpu.tensor_core_generation, "supported_precisions": list(gpu.supported_precisions)}
    return {**_measured(found), "tensor_core_capabilities": tensor_cores}


def told(last: Iterable[LastFigures]) -> dict[str, Any]:
    """Return what the heartbeat tells the orchestrator: the main figures of each device, and when they were measured."""
    found = [
        {
            "capability": kept.capability,
            "device": kept.device,
            "measured_at": kept.measured_at,
            **{name: value for name in HEADLINES if (value := kept.value(name)) is not None},
        }
        for kept in last
    ]
    return {"measured": found} if found else {}


def _measured(last: LastFigures | None) -> dict[str, Any]:
    if last is None:
        return {"measured_at": None, "memory_bandwidth": None, "compute_performance": None}
    peak = last.value("peak_gb_per_s")
    by_precision = last.facts.get("flops", {}).get("by_precision", {})
    computed = {
        name.upper(): {
            "tflops": tflops,
            "burst_tflops": last.value(f"{name}_burst_tflops"),
            "avg_time_ms": _milliseconds(by_precision.get(name, {}), tflops),
        }
        for name in PRECISIONS
        if (tflops := last.value(f"{name}_tflops")) is not None
    }
    return {
        "measured_at": last.measured_at,
        "memory_bandwidth": None if peak is None else {"peak_bandwidth_gb_s": peak},
        "compute_performance": computed or None,
        "figures": last.figures,
    }


def _milliseconds(facts: Mapping[str, Any], tflops: float) -> float | None:
    """Return how long one product took on average: at the speed that is shown, or in the first calls where its size is not known."""
    size, fastest_s = facts.get("size"), facts.get("seconds_per_call")
    if isinstance(size, int) and tflops > 0:
        return 2e3 * size**3 / (tflops * 1e12)
    return 1e3 * fastest_s if isinstance(fastest_s, int | float) else None
