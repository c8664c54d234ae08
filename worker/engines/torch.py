"""Runs models in PyTorch: exported programs (`.pt2`) and TorchScript, on the CPU, on a CUDA GPU, and on the GPU of a Mac.

Files that could run code are never opened (see `torch_archive`). The inputs are on the device before the first inference, and each
inference ends when the device has done its work. With `options.compile` the first call, which compiles, is made before the warm-up.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from shared.errors import EngineUnavailable, JobError, ModelInvalid
from worker.engines.base import Facts, InputSpec, Limits, Options
from worker.engines.torch_archive import EXPORTED, SCRIPT, kind_of
from worker.engines.torch_devices import Cpu, Device, open_device
from worker.engines.torch_errors import explain_call, explain_compile, explain_load
from worker.engines.torch_exported import ExportedProgram
from worker.engines.torch_script import ScriptModule
from worker.engines.torch_types import FLOATING, tensor_of, type_of

if TYPE_CHECKING:
    from worker.engines.base import Arrays

_UNCOMPILED = {EXPORTED: "eager", SCRIPT: "TorchScript"}  # how far torch optimises a graph without torch.compile
_CAST = {"float32": "float", "float16": "float16", "bfloat16": "bfloat16"}
_MEANT = (RuntimeError, ValueError, TypeError, AssertionError, IndexError, MemoryError)  # what torch raises for a model or its inputs


class TorchEngine:
    """Implements the capabilities `cpu.torch`, `gpu.cuda.torch` and `gpu.mps.torch`."""

    def __init__(self) -> None:
        self._model: ExportedProgram | ScriptModule | None = None
        self._device: Device = Cpu()
        self._options = Options()
        self._path = Path()
        self._kind = ""
        self._load_peak_mb: float | None = None
        self._compiled: dict[str, Any] = {"mode": "none"}

    def load(self, model: Path, options: Options, capability: str) -> None:
        self._path, self._options = model, options
        self._kind = kind_of(model)
        mode = _mode(options)
        if mode is not None and self._kind == SCRIPT:
            raise ModelInvalid(
                f"options.compile is {mode!r}, but {model.name} is TorchScript, which torch.compile does not take: leave it out, "
                "or export the model with torch.export"
            )
        self._device = open_device(torch, capability)
        _set_threads(options)
        # Where torch cannot read a record of an archive otherwise, it would open it in an unsafe way. This variable forbids that.
        os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"  # noqa: TID251 - no setting of ours
        torch.set_grad_enabled(False)
        self._device.start_phase()
        try:
            self._model = ExportedProgram(model) if self._kind == EXPORTED else ScriptModule(model, options)
            self._model.prepare(self._device.name, type_of(_CAST[options.dtype]) if options.dtype else None)
            self._device.wait()
        except JobError:
            raise
        except Exception as error:  # torch raises dozens of unrelated exception types
            raise explain_load(error, model.name, torch.__version__, self._device.name) from error
        self._load_peak_mb = self._device.peak_mb()

    @property
    def _loaded(self) -> ExportedProgram | ScriptModule:
        if self._model is None:
            raise RuntimeError("no model is loaded")
        return self._model

    def signature(self) -> list[InputSpec]:
        return [InputSpec(spec.name, self._bound_type(spec.element_type), spec.shape) for spec in self._loaded.signature()]

    def _bound_type(self, element_type: str) -> str:
        """Return the type in which an input is bound: `options.dtype` applies to the inputs of floating-point numbers, too."""
        return _CAST[self._options.dtype] if self._options.dtype and element_type in FLOATING else element_type

    def limits(self, shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, Limits]:
        return self._loaded.limits()

    def bind(self, inputs: Arrays) -> Callable[[], object]:
        tensors = {spec.name: tensor_of(inputs[spec.name], spec.element_type, self._device.name) for spec in self.signature()}
        if (mode := _mode(self._options)) is not None:
            call = self._device.finished(self._compile(tensors, mode))
        else:
            call = self._device.finished(self._loaded.call(tensors))
        self._device.wait()
        self._device.start_phase()
        return call

    def _compile(self, tensors: Mapping[str, Any], mode: str) -> Callable[[], object]:
        """Compile the model for these inputs, and check that torch did.

        Raises:
            JobError: torch cannot compile it, or has compiled nothing of it.
        """
        model = self._loaded
        model.module = torch.compile(model.module, mode=mode, dynamic=False)
        call = model.call(tensors)
        begin = perf_counter_ns()
        try:
            call()
            self._device.wait()
        except Exception as error:  # the compiler raises dozens of unrelated exception types
            if isinstance(error, AssertionError) and "Guard failed" in str(error):
                raise explain_call(error, self._path.name, torch.__version__, self._device.name, self._options.dtype) from error
            raise explain_compile(error, self._path.name, torch.__version__, mode) from error
        seconds = (perf_counter_ns() - begin) / 1e9
        counters: Any = torch._dynamo.utils.counters
        graphs, breaks = int(counters["stats"]["unique_graphs"]), sum(counters["graph_break"].values())
        if not graphs:
            raise EngineUnavailable(
                f"torch.compile left {self._path.name} as it was, so options.compile {mode} would measure nothing else: leave it out"
            )
        self._compiled = {
            "mode": mode,
            "backend": "inductor",
            "seconds": seconds,  # this includes the first inference
            "graphs": graphs,
            "graph_breaks": breaks,
            "cudagraph_skips": int(counters["inductor"]["cudagraph_skips"]),
        }
        return call

    def facts(self) -> Facts:
        model = self._loaded
        types = Counter(str(one.dtype).removeprefix("torch.") for one in model.parameters())
        runtime: dict[str, Any] = {
            "runtime": "torch",
            "version": torch.__version__,
            "build": " ".join(str(torch.__config__.show()).split())[:1_000],
            "format": self._kind,
            "provider": self._device.name,
            "graph_level": self._compiled["mode"] if self._compiled["mode"] != "none" else _UNCOMPILED[self._kind],
            "dtype": self._options.dtype or (types.most_common(1)[0][0] if types else None),
            "dtypes": dict(types),  # how many tensors of weights have each type
            "threads": {"intra_op": torch.get_num_threads(), "inter_op": torch.get_num_interop_threads()},
            "blas": _blas(),
            "onednn": bool(torch.backends.mkldnn.is_available()),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "compile": self._compiled,
            "load_peak_gpu_mb": self._load_peak_mb,
            "peak_gpu_mb": self._device.peak_mb(),
            "inputs": [
                {"name": spec.name, "type": spec.element_type, "shape": None if spec.shape is None else list(spec.shape)}
                for spec in self.signature()
            ],
            **self._device.facts(),
        }
        if warnings := model.warnings():
            runtime["warnings"] = warnings
        return Facts(runtime, {"torch": torch.__version__, "numpy": np.__version__})

    def explain(self, error: Exception) -> JobError | None:
        if isinstance(error, _MEANT) or type(error).__module__.startswith("torch"):
            return explain_call(error, self._path.name, torch.__version__, self._device.name, self._options.dtype)
        return None

    def unload(self) -> None:
        self._model = None


def _mode(options: Options) -> str | None:
    """Return the mode of torch.compile. None if the model runs as it is."""
    return None if options.compile in (None, "none") else options.compile


def _set_threads(options: Options) -> None:
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    if options.inter_threads is not None and options.inter_threads != torch.get_num_interop_threads():
        torch.set_num_interop_threads(options.inter_threads)  # torch allows this once in a process, before its first work


def _blas() -> str:
    """Return the library of linear algebra that this build of torch uses on the CPU, such as `mkl`."""
    found = [word.partition("=")[2] for word in str(torch.__config__.show()).replace(",", " ").split() if word.startswith("BLAS_INFO=")]
    return found[0] if found else ""
