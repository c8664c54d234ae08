"""Knows the compute units of CoreML: which one a capability asks for, and which devices CoreML plans to use.

CoreML is told which devices it may use, and chooses one for each operation by itself. What it chose can be read as a plan since macOS 14.4.
The plan is what CoreML prefers; no call says afterwards what ran where.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from shared.errors import EngineUnavailable

UNITS = {"cpu.coreml": "CPU_ONLY", "gpu.coreml": "CPU_AND_GPU", "ane.coreml": "CPU_AND_NE"}  # these are names in coremltools.ComputeUnit
DEVICES = {"cpu.coreml": "CPU", "gpu.coreml": "GPU", "ane.coreml": "NeuralEngine"}
# Maps the classes of coremltools.models.compute_device to our names.
_NAMES = {"MLCPUComputeDevice": "CPU", "MLGPUComputeDevice": "GPU", "MLNeuralEngineComputeDevice": "NeuralEngine"}
LEAST_SHARE = 0.5  # the least share of a model's operations; with a smaller share on the device, the result would mostly measure the CPU


def planned_devices(plan: Any) -> Counter[str]:
    """Return for how many operations CoreML prefers each device. Operations without a device, such as constants, do not count."""
    counted: Counter[str] = Counter()
    for usage in _usages(plan, plan.model_structure):
        if usage is not None:
            kind = type(usage.preferred_compute_device).__name__
            counted[_NAMES.get(kind, kind)] += 1
    return counted


def _usages(plan: Any, structure: Any) -> Iterator[Any]:
    if structure.program is not None:
        for function in structure.program.functions.values():
            for operation in _operations(function.block):
                yield plan.get_compute_device_usage_for_mlprogram_operation(operation)
    if structure.neuralnetwork is not None:
        for layer in structure.neuralnetwork.layers:
            yield plan.get_compute_device_usage_for_neuralnetwork_layer(layer)
    if structure.pipeline is not None:
        for _, part in structure.pipeline.sub_models:
            yield from _usages(plan, part)


def _operations(block: Any) -> Iterator[Any]:
    for operation in block.operations:
        yield operation
        for inner in operation.blocks:
            yield from _operations(inner)


def judge(counted: Mapping[str, int], capability: str) -> float | None:
    """Return the share of the operations that are planned for the device of a capability. None if the plan names no device.

    Raises:
        EngineUnavailable: It is fewer than half of them.
    """
    total, wanted = sum(counted.values()), DEVICES[capability]
    if not total:
        return None
    share = counted.get(wanted, 0) / total
    if share < LEAST_SHARE:
        shown = ", ".join(f"{count} on {name}" for name, count in Counter(counted).most_common())
        raise EngineUnavailable(
            f"CoreML does not use the {wanted}: {capability} was asked for, but of the model's {total} operations it plans {shown}. "
            f"Nothing was measured; convert the model to operations and types that the {wanted} has, or measure it on cpu.coreml"
        )
    return share
