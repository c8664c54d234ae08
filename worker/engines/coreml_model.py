"""Runs CoreML's own models through coremltools: `.mlpackage` (by its manifest) and `.mlmodel`.

coremltools reads models on every system, and runs them on macOS only.
"""

from __future__ import annotations

import platform
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import coremltools
import numpy as np
from coremltools.models.compute_plan import MLComputePlan

from shared.errors import EngineUnavailable, JobError, ModelInvalid
from shared.model_packages import MANIFEST, items_of
from worker.engines.base import Facts, InputSpec, Limits, Options
from worker.engines.coreml_inputs import CoremlInput, read_inputs
from worker.engines.coreml_units import UNITS, judge, planned_devices

if TYPE_CHECKING:
    from worker.engines.base import Arrays

CHOSEN = "chosen by CoreML"
WORDS = 400  # how many characters of CoreML's own message are kept
_SHAPE = re.compile(r"does not match the shape|shape .* (?:not|isn't) (?:in|allowed|supported)|MultiArray shape", re.IGNORECASE)
_MEMORY = re.compile(r"out of memory|cannot allocate|insufficient memory", re.IGNORECASE)


class CoremlModelEngine:
    """Runs one model with the compute unit of a capability."""

    def __init__(self) -> None:
        self._model: Any = None
        self._name, self._capability = "", ""
        self._inputs: list[CoremlInput] = []
        self._devices: Mapping[str, int] = {}
        self._share: float | None = None
        self._warnings: list[str] = []
        self._copy: tempfile.TemporaryDirectory[str] | None = None

    def load(self, model: Path, options: Options, capability: str) -> None:
        self._name, self._capability = model.name, capability
        for name in ("threads", "graph"):
            if (value := getattr(options, name)) is not None:
                raise EngineUnavailable(f"options.{name} is {value!r}, but CoreML lets nobody choose that for its own models: leave it out")
        unit = getattr(coremltools.ComputeUnit, UNITS[capability])
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                self._model = coremltools.models.MLModel(str(self._path_for_coreml(model)), compute_units=unit)
            except Exception as error:  # protobuf and coremltools raise a dozen unrelated types
                raise ModelInvalid(f"coremltools {coremltools.__version__} cannot read {self._name}: {_unreadable(str(error))}") from error
        spec = self._model.get_spec()
        if spec.WhichOneof("Type") is None:  # an empty file is read as a message in which nothing is set
            raise ModelInvalid(f"{self._name} holds no model: the file is empty or was cut off; save it again with coremltools")
        description = spec.description
        if len(description.state) or len(description.functions):
            what = "keeps a state between inferences" if len(description.state) else "has several functions"
            raise ModelInvalid(f"{self._name} {what}, which is not measured: convert it with one function and without state")
        self._inputs = read_inputs(description, self._name)
        self._judge(unit, [str(one.message) for one in said])

    def _path_for_coreml(self, model: Path) -> Path:
        """Return the path by which CoreML knows what a model is: a folder `.mlpackage` or a file `.mlmodel`.

        A file in the worker's cache is named after its hash, so it is linked under another name.
        """
        if items_of(model, self._name) is not None and model.name == MANIFEST:
            return model.parent
        if model.suffix == ".mlmodel":
            return model
        self._copy = tempfile.TemporaryDirectory(prefix="fleetmark-coreml-")
        path = Path(self._copy.name) / "model.mlmodel"
        try:
            path.hardlink_to(model)
        except OSError:  # another file system, or one without links
            shutil.copyfile(model, path)
        return path

    def _judge(self, unit: Any, said: list[str]) -> None:
        """Check that CoreML compiled the model, and that it plans to use the device that was asked for.

        Raises:
            JobError: It did not, or plans to run most of it on another device.
        """
        try:
            compiled = self._model.get_compiled_model_path()
        except Exception as error:
            reason = next((text.partition("message was: ")[2] for text in said if "message was: " in text), "") or str(error)
            if platform.system() != "Darwin":
                raise EngineUnavailable(f"CoreML runs on macOS only, and this is {platform.system()}: {_words(reason)}") from error
            raise ModelInvalid(f"CoreML of macOS {platform.mac_ver()[0]} cannot load {self._name}: {_words(reason)}") from error
        try:
            self._devices = planned_devices(MLComputePlan.load_from_path(str(compiled), compute_units=unit))
        except Exception as error:  # noqa: BLE001 - a system without plans raises what it likes, and can still measure
            self._warnings.append(f"it is not known which device CoreML uses (macOS 14.4 or newer says it): {_words(str(error))}")
            return
        self._share = judge(self._devices, self._capability)

    def signature(self) -> list[InputSpec]:
        return [one.spec for one in self._inputs]

    def limits(self, shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, Limits]:
        return {}

    def bind(self, inputs: Arrays) -> Callable[[], object]:
        for one in self._inputs:
            one.check(inputs[one.spec.name].shape)
        data, model = {one.spec.name: one.fed(inputs[one.spec.name]) for one in self._inputs}, self._model
        return lambda: model.predict(data)

    def facts(self) -> Facts:
        spec = self._model.get_spec()
        runtime: dict[str, Any] = {
            "runtime": "coreml",
            "version": platform.mac_ver()[0],  # CoreML is part of macOS
            "coremltools": coremltools.__version__,
            "compute_unit": UNITS[self._capability],
            # This is the device of most operations. Where that is not known, it is what CoreML was allowed to use.
            "provider": max(self._devices, key=lambda name: self._devices[name]) if self._devices else UNITS[self._capability],
            "provider_share": self._share,
            "operations_by_device": dict(self._devices),  # CoreML has planned these devices
            "model_type": str(spec.WhichOneof("Type")),
            "specification_version": int(spec.specificationVersion),
            "threads": CHOSEN,  # CoreML neither lets anybody choose them nor says them
            "graph_level": CHOSEN,
            "binding": "host arrays, copied to the device and back within each inference",
            "inputs": [
                {"name": spec.name, "type": spec.element_type, "shape": None if spec.shape is None else list(spec.shape)}
                for spec in self.signature()
            ],
        }
        if self._warnings:
            runtime["warnings"] = list(self._warnings)
        return Facts(runtime, {"coremltools": coremltools.__version__, "numpy": np.__version__})

    def explain(self, error: Exception) -> JobError | None:
        """Return the reason for an error of `predict`, which raises `RuntimeError` and plain `Exception`."""
        if not isinstance(error, (RuntimeError, ValueError, TypeError)) and type(error) is not Exception:
            return None
        text = str(error)
        if _SHAPE.search(text):
            return ModelInvalid(f"{self._name} does not take inputs of these shapes: change options.shapes. CoreML says: {_words(text)}")
        if _MEMORY.search(text):
            return ModelInvalid(f"{self._name} does not fit into the memory of this device. CoreML says: {_words(text)}")
        return ModelInvalid(f"CoreML cannot run {self._name}: {_words(text)}")

    def unload(self) -> None:
        self._model = None
        if self._copy is not None:
            self._copy.cleanup()
            self._copy = None


def _unreadable(text: str) -> str:
    """Return why coremltools could not read a model, with what to do where its own words do not say it."""
    if "'NoneType' object has no attribute" in text:
        return "its manifest names no model that is in the package; save it again with coremltools"
    if "Item does not exist" in text:
        return f"a file that its manifest names is missing; copy the whole folder. It says: {_words(text)}"
    if "Error parsing message" in text:
        return f"it is no CoreML model, or a damaged one. It says: {_words(text)}"
    return _words(text)


def _words(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= WORDS else f"{plain[:WORDS]} …"
