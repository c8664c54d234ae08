"""Provides a double of CoreML, the part of macOS below coremltools.

coremltools itself is real in these tests: it builds, saves, reads and checks models, and calls a module in C++ (`libcoremlpython`) for
everything that only macOS can do. The double replaces that module, and has the calls that coremltools 9.0 makes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import coremltools
import numpy as np
from coremltools.models import compute_device, compute_plan, model, utils


class Proxy:
    """Stands for a compiled model: `_MLModelProxy(path, compute_units, function, hints, asset)`."""

    used: list[str] = []  # noqa: RUF012 - the compute units that were asked for, in order
    refuses = ""  # the error of the framework while it loads a model, if there is one
    plan: Any = None  # None on a macOS before 14.4
    fails = ""  # the error of `predict`, if there is one

    def __init__(self, path: str, units: str, function: str, hints: dict[str, str], asset: Any) -> None:
        assert path.endswith((".mlmodel", ".mlpackage")), "CoreML knows what a model is by its ending"
        if self.refuses:
            raise RuntimeError(self.refuses)
        self.used.append(units)
        self.spec = utils.load_spec(path)
        self.path = path

    @staticmethod
    def maximum_supported_specification_version() -> int:
        return 10

    def get_compiled_model_path(self) -> str:
        return f"{self.path}c"

    def predict(self, data: dict[str, Any], state: Any) -> dict[str, Any]:
        if self.fails:
            raise RuntimeError(self.fails)
        for one in self.spec.description.input:
            value = data[one.name]
            if one.type.WhichOneof("Type") == "multiArrayType":
                assert isinstance(value, np.ndarray)
                assert value.dtype != np.float16, "coremltools gives float16 as float32"
        return {one.name: np.zeros(4) for one in self.spec.description.output}

    @classmethod
    def get_compute_plan(cls, path: str, units: str) -> Any:
        assert path.endswith("c")
        assert units in cls.used
        if cls.plan is None:
            raise RuntimeError("MLComputePlan is only available on macOS >= 14.4")
        return cls.plan


class DeviceProxy:
    """Stands for a device of CoreML."""


def plan_of(**operations: int) -> Any:
    """Return the plan of a program with this number of operations on each device, as coremltools gives it.

    It also has one constant without a device.
    """
    classes = {
        "CPU": compute_device.MLCPUComputeDevice,
        "GPU": compute_device.MLGPUComputeDevice,
        "NeuralEngine": compute_device.MLNeuralEngineComputeDevice,
    }
    devices = {name: classes[name](DeviceProxy()) for name in operations}
    names = [name for name, count in operations.items() for _ in range(count)]
    made = [
        compute_plan.MLModelStructureProgramOperation(inputs={}, operator_name=name, outputs=[], blocks=[], __proxy__=None)
        for name in [*names, "const"]
    ]
    block = compute_plan.MLModelStructureProgramBlock(inputs=[], operations=made, output_names=[])
    function = compute_plan.MLModelStructureProgramFunction(inputs=[], block=block)
    structure = compute_plan.MLModelStructure(
        neuralnetwork=None, program=compute_plan.MLModelStructureProgram(functions={"main": function}), pipeline=None
    )

    def usage(operation: Any) -> Any:
        if operation.operator_name == "const":
            return None
        device = devices[operation.operator_name]
        return compute_plan.MLComputePlanDeviceUsage(preferred_compute_device=device, supported_compute_devices=list(devices.values()))

    proxy = PlanProxy()
    proxy.model_structure = structure
    proxy.get_compute_device_usage_for_mlprogram_operation = usage
    return compute_plan.MLComputePlan(proxy)


class PlanProxy(SimpleNamespace):
    """Stands for a plan of CoreML."""


@contextmanager
def installed() -> Iterator[type[Proxy]]:
    """Put the double in the place of CoreML. Afterwards everything is as before."""
    places: list[tuple[Any, str, Any]] = [
        *((module, "_MLModelProxy", Proxy) for module in (model, compute_plan, compute_device)),
        (compute_plan, "_MLComputePlanProxy", PlanProxy),
        *((compute_device, f"_ML{name}ComputeDeviceProxy", DeviceProxy) for name in ("CPU", "GPU", "NeuralEngine")),
    ]
    before = [(place, name, getattr(place, name)) for place, name, _ in places]
    assert coremltools.__version__.startswith("9."), "the double has the calls of coremltools 9"
    for place, name, double in places:
        setattr(place, name, double)
    Proxy.used, Proxy.refuses, Proxy.plan, Proxy.fails = [], "", None, ""
    try:
        yield Proxy
    finally:
        for place, name, old in before:
            setattr(place, name, old)
