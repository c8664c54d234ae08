"""ONNX Runtime: one session, explicit providers, options as the recipe says, facts as the runtime reports them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from shared.errors import EngineUnavailable, JobError, ModelInvalid
from worker.engines.base import Facts, InputSpec, Options
from worker.engines.onnx_errors import explain, fell_back

if TYPE_CHECKING:
    from worker.engines.base import Arrays

CPU = "CPUExecutionProvider"
# The provider that makes a result the capability's own. A CPU result may come from any provider that is no GPU's.
PROVIDERS = {
    "cpu.onnx": CPU,
    "gpu.cuda.onnx": "CUDAExecutionProvider",
    "gpu.rocm.onnx": "ROCMExecutionProvider",
    "gpu.directml.onnx": "DmlExecutionProvider",
}
# Others that the recipe may put in its place.
ALTERNATIVES = {
    "cpu.onnx": {CPU, "DnnlExecutionProvider", "XnnpackExecutionProvider", "OpenVINOExecutionProvider", "ACLExecutionProvider"},
    "gpu.cuda.onnx": {"CUDAExecutionProvider", "TensorrtExecutionProvider", "NvTensorRTRTXExecutionProvider"},
    "gpu.rocm.onnx": {"ROCMExecutionProvider", "MIGraphXExecutionProvider"},
    "gpu.directml.onnx": {"DmlExecutionProvider"},
}
_LEVELS = onnxruntime.GraphOptimizationLevel
GRAPH_LEVELS = {
    "disabled": _LEVELS.ORT_DISABLE_ALL,
    "basic": _LEVELS.ORT_ENABLE_BASIC,
    "extended": _LEVELS.ORT_ENABLE_EXTENDED,
    "layout": getattr(_LEVELS, "ORT_ENABLE_LAYOUT", _LEVELS.ORT_ENABLE_ALL),  # its own level since 1.22
    "all": _LEVELS.ORT_ENABLE_ALL,
}
QUIET = 3  # errors only: they are raised as well, warnings would fill the captured output
# TensorProto.DataType of the types numpy lacks: their bits are bound as what they are.
_ONNX_TYPES = {"bfloat16": 16, "float8e4m3fn": 17, "float8e4m3fnuz": 18, "float8e5m2": 19, "float8e5m2fnuz": 20}

onnxruntime.disable_telemetry_events()
onnxruntime.set_default_logger_severity(QUIET)


class OnnxEngine:
    """The capabilities `cpu.onnx` and `gpu.*.onnx`."""

    def __init__(self) -> None:
        self._session: Any = None
        self._model = ""
        self._capability = ""
        self._bound: dict[str, list[int]] = {}

    def load(self, model: Path, options: Options, capability: str) -> None:
        self._model, self._capability = model.name, capability
        if model.is_dir():
            raise ModelInvalid(f"{model.name} is a directory; give the .onnx file")
        providers = wanted_providers(options, capability)
        if capability == "gpu.cuda.onnx" and hasattr(onnxruntime, "preload_dlls"):  # since 1.21
            onnxruntime.preload_dlls()  # CUDA and cuDNN from their wheels, where the system has none
        try:
            self._session = onnxruntime.InferenceSession(
                str(model),
                _session_options(options, capability),
                providers=providers,
                enable_fallback=0,  # else a failing provider is replaced by the CPU, with a line on stdout
            )
        except Exception as error:  # the runtime raises a dozen unrelated types; each is explained
            if capability != "cpu.onnx" and providers[0] in str(error):
                raise EngineUnavailable(f"{providers[0]} cannot be used for {capability}: {error}") from error
            raise explain(error, model.name, onnxruntime.__version__) from error
        self._check_providers(providers)

    def _check_providers(self, wanted: list[str]) -> None:
        active: list[str] = self._session.get_providers()
        for provider in wanted:
            if provider not in active:
                raise fell_back(provider, active, self._capability)
        nodes = self._nodes_by_provider()
        if nodes and self._capability != "cpu.onnx" and not any(nodes.get(provider) for provider in wanted if provider != CPU):
            raise fell_back(wanted[0], [f"{name} ({count} nodes)" for name, count in nodes.items()], self._capability)

    def signature(self) -> list[InputSpec]:
        return [_input_spec(argument) for argument in self._session.get_inputs()]

    def bind(self, inputs: Arrays) -> Callable[[], object]:
        self._bound = {name: list(value.shape) for name, value in inputs.items()}
        names = [output.name for output in self._session.get_outputs()]
        types = {spec.name: spec.element_type for spec in self.signature()}
        if not any(kind in _ONNX_TYPES for kind in types.values()):
            return partial(self._session.run, names, dict(inputs))
        values = {name: _ort_value(value, types[name]) for name, value in inputs.items()}
        return partial(self._session.run_with_ort_values, names, values)

    def facts(self) -> Facts:
        session, options = self._session, self._session.get_session_options()
        levels = {level: name for name, level in reversed(GRAPH_LEVELS.items())}
        meta = session.get_modelmeta()
        runtime: dict[str, Any] = {
            "runtime": "onnxruntime",
            "version": onnxruntime.__version__,
            "build": onnxruntime.get_build_info(),
            "device": onnxruntime.get_device(),
            "providers": session.get_providers(),
            "provider_options": session.get_provider_options(),
            "graph_level": levels.get(options.graph_optimization_level, str(options.graph_optimization_level)),
            "intra_op_threads": options.intra_op_num_threads,  # 0: the runtime takes one a physical core
            "inter_op_threads": options.inter_op_num_threads,
            "execution_mode": options.execution_mode.name,
            "binding": "host arrays, copied to the device and back within each inference",
            "producer": meta.producer_name,
            "inputs": [_described(argument, self._bound.get(argument.name)) for argument in session.get_inputs()],
            "outputs": [_described(argument) for argument in session.get_outputs()],
        }
        if nodes := self._nodes_by_provider():
            runtime["nodes_by_provider"] = dict(nodes)
        return Facts(runtime, {"onnxruntime": onnxruntime.__version__, "numpy": np.__version__})

    def explain(self, error: Exception) -> JobError | None:
        module = type(error).__module__
        if module.startswith("onnxruntime") or isinstance(error, (RuntimeError, ValueError, MemoryError)):
            return explain(error, self._model, onnxruntime.__version__, self._free())
        return None

    def _free(self) -> dict[str, tuple[tuple[int | str | None, ...], list[int]]]:
        """Inputs whose shape the model leaves open, with the shape they were called with."""
        return {
            spec.name: (spec.shape, self._bound[spec.name])
            for spec in self.signature()
            if spec.shape is not None and spec.name in self._bound and list(spec.shape) != self._bound[spec.name]
        }

    def unload(self) -> None:
        self._session = None

    def _nodes_by_provider(self) -> Counter[str]:
        """Nodes each provider really got; empty where the runtime cannot say (before 1.24) or was not asked to."""
        if self._capability == "cpu.onnx" or not hasattr(self._session, "get_provider_graph_assignment_info"):
            return Counter()
        nodes: Counter[str] = Counter()
        for subgraph in self._session.get_provider_graph_assignment_info():
            nodes[subgraph.ep_name] += len(subgraph.get_nodes())
        return nodes


def wanted_providers(options: Options, capability: str) -> list[str]:
    """The providers to ask for, in order: the recipe's or the capability's, with the CPU behind a GPU's.

    Raises:
        EngineUnavailable: the runtime was built without one, or it would make the result another capability's.
    """
    providers = list(options.providers or [PROVIDERS[capability]])
    available = onnxruntime.get_available_providers()
    for provider in providers:
        if provider not in available:
            raise EngineUnavailable(f"{provider} is not in this worker's ONNX Runtime; it has {', '.join(available)}")
    if providers[0] not in ALTERNATIVES[capability] or (capability == "cpu.onnx" and set(providers) - ALTERNATIVES[capability]):
        raise EngineUnavailable(
            f"options.providers {providers} would not measure {capability}, whose first is {' or '.join(sorted(ALTERNATIVES[capability]))}"
        )
    return providers if CPU in providers else [*providers, CPU]


def _session_options(options: Options, capability: str) -> Any:
    chosen = onnxruntime.SessionOptions()
    chosen.log_severity_level = QUIET
    if options.threads is not None:
        chosen.intra_op_num_threads = options.threads
    if options.inter_threads is not None:
        chosen.inter_op_num_threads = options.inter_threads
        if options.inter_threads > 1:  # in sequential mode the runtime would ignore it
            chosen.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    if options.graph is not None:
        chosen.graph_optimization_level = GRAPH_LEVELS[options.graph]
    if capability != "cpu.onnx":
        chosen.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return chosen


def _input_spec(argument: Any) -> InputSpec:
    kind: str = argument.type
    element = kind[len("tensor(") : -1] if kind.startswith("tensor(") else kind
    return InputSpec(argument.name, element, tuple(argument.shape) if argument.shape is not None else None)


def _described(argument: Any, bound: list[int] | None = None) -> dict[str, Any]:
    described = {"name": argument.name, "type": argument.type, "shape": argument.shape}
    return described if bound is None else {**described, "bound_shape": bound}


def _ort_value(value: Any, kind: str) -> Any:
    if kind in _ONNX_TYPES:
        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(value, _ONNX_TYPES[kind])
    return onnxruntime.OrtValue.ortvalue_from_numpy(value)
