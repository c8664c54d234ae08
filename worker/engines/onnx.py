"""Runs ONNX models in ONNX Runtime.

It opens one session with explicit providers and the recipe's options, and reports what the runtime says about itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from shared.errors import EngineUnavailable, JobError, ModelInvalid
from worker.engines.base import Facts, InputSpec, Limits, Options
from worker.engines.inputs.types import COMPLEX, FLOATS, INTEGERS
from worker.engines.onnx_errors import Called, explain
from worker.engines.onnx_graph.limits import input_limits, input_shapes
from worker.engines.onnx_providers import PROVIDER_OPTIONS, PROVIDERS, fell_back, judge, must_count, nodes_by_provider, wanted_providers
from worker.engines.onnx_threads import listed, threads_of

if TYPE_CHECKING:
    from worker.engines.base import Arrays

_LEVELS = onnxruntime.GraphOptimizationLevel
GRAPH_LEVELS = {
    "disabled": _LEVELS.ORT_DISABLE_ALL,
    "basic": _LEVELS.ORT_ENABLE_BASIC,
    "extended": _LEVELS.ORT_ENABLE_EXTENDED,
    "layout": getattr(_LEVELS, "ORT_ENABLE_LAYOUT", _LEVELS.ORT_ENABLE_ALL),  # a separate level since 1.22
    "all": _LEVELS.ORT_ENABLE_ALL,
}
QUIET = 3  # errors only; warnings would fill the captured output
# These are the TensorProto.DataType of the types that numpy lacks. Their bits are bound under these types.
_ONNX_TYPES = {"bfloat16": 16, "float8e4m3fn": 17, "float8e4m3fnuz": 18, "float8e5m2": 19, "float8e5m2fnuz": 20}

onnxruntime.disable_telemetry_events()
onnxruntime.set_default_logger_severity(QUIET)


class OnnxEngine:
    """Implements the capabilities `cpu.onnx` and `gpu.*.onnx`."""

    def __init__(self) -> None:
        self._session: Any = None
        self._path = Path()
        self._capability = ""
        self._options = Options()
        self._provider: tuple[str, float | None] = ("", None)
        self._signature: list[InputSpec] | None = None
        self._limits: Mapping[str, Limits] = {}
        self._nodes: dict[str, int] = {}
        self._bound: dict[str, list[int]] = {}
        self._warnings: list[str] = []
        self._threads_before = listed()
        self._appeared: int | None = None  # the threads of the session, if no others can have appeared with it

    def load(self, model: Path, options: Options, capability: str) -> None:
        self._path, self._capability, self._options = model, capability, options
        if model.is_dir():
            raise ModelInvalid(f"{model.name} is a directory; give the .onnx file")
        providers = wanted_providers(options, capability, onnxruntime.get_available_providers())
        if capability == "gpu.cuda.onnx" and hasattr(onnxruntime, "preload_dlls"):  # since 1.21
            onnxruntime.preload_dlls()  # loads CUDA and cuDNN from their wheels if the system has none
        try:
            self._session = onnxruntime.InferenceSession(
                str(model),
                _session_options(options, must_count(providers), _format_of(model)),
                providers=providers,
                provider_options=[PROVIDER_OPTIONS.get(capability, {}) if name == PROVIDERS[capability] else {} for name in providers],
                enable_fallback=0,  # otherwise the CPU replaces a failing provider, with only a line on stdout
            )
        except Exception as error:  # the runtime raises a dozen unrelated exception types
            if capability != "cpu.onnx" and providers[0] in str(error):
                raise EngineUnavailable(f"{providers[0]} cannot be used for {capability}: {error}") from error
            raise explain(error, model, onnxruntime.__version__) from error
        self._check_providers(providers)

    def _check_providers(self, wanted: list[str]) -> None:
        active: list[str] = self._session.get_providers()
        for provider in wanted:
            if provider not in active:
                raise fell_back(provider, active, self._capability)
        nodes = nodes_by_provider(self._session) if must_count(wanted) else None
        self._provider = judge(nodes, wanted, self._capability, onnxruntime.__version__)
        self._nodes = dict(nodes or {})

    def signature(self) -> list[InputSpec]:
        if self._signature is None:
            self._appeared = self._new_threads()
            shapes = input_shapes(self._path, self._warnings.append)
            self._signature = [_input_spec(argument, shapes) for argument in self._session.get_inputs()]
        return self._signature

    def _new_threads(self) -> int | None:
        now = listed()
        is_plain = not must_count(self._session.get_providers())  # other providers may have threads of their own
        return now - self._threads_before if is_plain and now is not None and self._threads_before is not None else None

    def limits(self, shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, Limits]:
        self._limits = input_limits(self._path, shapes, self._warnings.append)
        return self._limits

    def bind(self, inputs: Arrays) -> Callable[[], object]:
        self._bound = {name: list(value.shape) for name, value in inputs.items()}
        names = [output.name for output in self._session.get_outputs()]
        types = {spec.name: spec.element_type for spec in self.signature()}
        if not any(kind in _ONNX_TYPES for kind in types.values()) and all(
            _in_numpy(output.type) for output in self._session.get_outputs()
        ):
            return partial(self._session.run, names, dict(inputs))
        values = {name: _ort_value(value, types[name]) for name, value in inputs.items()}
        return partial(self._session.run_with_ort_values, names, values)

    def facts(self) -> Facts:
        session, options = self._session, self._session.get_session_options()
        arguments = self._arguments()
        meta = session.get_modelmeta()
        runtime: dict[str, Any] = {
            "runtime": "onnxruntime",
            "version": onnxruntime.__version__,
            "build": onnxruntime.get_build_info(),
            "device": onnxruntime.get_device(),
            "providers": session.get_providers(),
            "provider_options": session.get_provider_options(),
            "graph_level": _level_name(options.graph_optimization_level),
            "provider": self._provider[0],
            "provider_share": self._provider[1],
            "threads": threads_of(session, options.intra_op_num_threads, options.inter_op_num_threads, self._appeared),
            "execution_mode": options.execution_mode.name,
            "binding": "host arrays, copied to the device and back within each inference",
            "producer": meta.producer_name,
            "inputs": [_described(argument.name, argument.type, spec.shape) for argument, spec in arguments],
            "outputs": [_described(argument.name, argument.type, argument.shape) for argument in session.get_outputs()],
        }
        if self._warnings:
            runtime["warnings"] = list(self._warnings)
        if self._nodes:
            runtime["nodes_by_provider"] = self._nodes
        return Facts(runtime, {"onnxruntime": onnxruntime.__version__, "numpy": np.__version__})

    def explain(self, error: Exception) -> JobError | None:
        module = type(error).__module__
        if module.startswith("onnxruntime") or isinstance(error, (RuntimeError, ValueError, MemoryError)):
            called = {spec.name: Called(spec, self._bound.get(spec.name), self._limits.get(spec.name)) for spec in self.signature()}
            return explain(error, self._path, onnxruntime.__version__, called)
        return None

    def _arguments(self) -> list[tuple[Any, InputSpec]]:
        return list(zip(self._session.get_inputs(), self.signature(), strict=True))

    def unload(self) -> None:
        self._session = None


def _format_of(model: Path) -> str:
    """Return the runtime's name for the format of a model file, from its first bytes.

    The runtime itself goes by the suffix `.ort`, which a model in the worker's cache does not have.
    """
    with model.open("rb") as file:
        return "ORT" if file.read(8)[4:] == b"ORTM" else "ONNX"


def _session_options(options: Options, count_nodes: bool, model_format: str) -> Any:
    chosen = onnxruntime.SessionOptions()
    chosen.add_session_config_entry("session.load_model_format", model_format)
    chosen.log_severity_level = QUIET
    if options.threads is not None:
        chosen.intra_op_num_threads = options.threads
    if options.inter_threads is not None:
        chosen.inter_op_num_threads = options.inter_threads
        if options.inter_threads > 1:  # in sequential mode the runtime ignores inter_threads
            chosen.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    if options.graph is not None:
        chosen.graph_optimization_level = GRAPH_LEVELS[options.graph]
    if count_nodes:
        chosen.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return chosen


def _level_name(level: Any) -> str:
    """Return the name of a graph level. Before 1.22 `layout` and `all` are the same level, whose name is `all`."""
    return {known: name for name, known in GRAPH_LEVELS.items()}.get(level, str(level))


def _input_spec(argument: Any, shapes: Mapping[str, tuple[int | str | None, ...] | None]) -> InputSpec:
    """Return an input as the runtime reports it, with a shape of None if its rank is unknown.

    The rank comes from the file, because the runtime reports [] both for a scalar and for an unknown rank.
    """
    kind: str = argument.type
    element = kind[len("tensor(") : -1] if kind.startswith("tensor(") else kind
    shape = tuple(argument.shape) if argument.shape is not None else None
    if not shape and shapes.get(argument.name, ()) is None:
        shape = None
    return InputSpec(argument.name, element, shape)


def _described(name: str, kind: str, shape: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "shape": None if shape is None else list(shape)}


def _in_numpy(kind: str) -> bool:
    """Return whether the runtime can return an output of this type as an array of numpy, or as a list or mapping of such arrays."""
    element = kind.removeprefix("tensor(").removesuffix(")")
    return not kind.startswith("tensor(") or any(element in known for known in (FLOATS, INTEGERS, COMPLEX, ("bool", "string")))


def _ort_value(value: Any, kind: str) -> Any:
    if kind in _ONNX_TYPES:
        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(value, _ONNX_TYPES[kind])
    return onnxruntime.OrtValue.ortvalue_from_numpy(value)
