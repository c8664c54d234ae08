"""Provides a double of PyTorch, for tests where torch is not installed, and for devices that are not there.

It has the calls that the engine makes, and no others; `tests/engines/torch/test_double.py` compares each of them with the real library.
Its models are archives with the layout of `torch.export.save`, in which `models/model.json` also says what the network does. It computes
with numpy. A call on a GPU only queues its work, as in torch: `Cuda.log` says in which order work was queued, recorded and waited for.
"""

from __future__ import annotations

import contextlib
import json
import sys
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

VERSION = "2.13.0+double"
TYPES = {
    **{name: name for name in ("float32", "float64", "float16", "int8", "int16", "int32", "int64", "uint8", "complex64", "complex128")},
    "bool": "bool",
    "bfloat16": "int16",
}


def save(path: Path, kind: str, inputs: list[tuple[str, str, list[int | str]]], rows: int = 0, **more: Any) -> Path:
    """Write a model. `kind` is `linear` (the sum of the inputs) or `table` (the rows of a table that the first input names)."""
    program = {"graph_module": {"graph": {"nodes": [{"target": "torch.ops.aten.add.Tensor"}]}}, "guards_code": more.pop("guards", [])}
    program |= {"double": {"kind": kind, "inputs": inputs, "rows": rows, **more}}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (("archive_format", "pt2"), ("archive_version", "0"), ("models/model.json", json.dumps(program))):
            archive.writestr(f"{path.stem}/{name}", content)
    return path


class DType:
    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"


class Tensor:
    def __init__(self, array: Any, dtype: DType, device: str = "cpu") -> None:
        self.array, self.dtype, self.device = array, dtype, device

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape)

    def to(self, target: str) -> Tensor:
        return Tensor(self.array, self.dtype, target)

    def view(self, dtype: DType) -> Tensor:
        return Tensor(self.array, dtype, self.device)


class SymInt:
    def __init__(self, name: str) -> None:
        self.node = SimpleNamespace(expr=name)


class End(int):
    """Holds one end of a range, as sympy does."""

    @property
    def is_Integer(self) -> bool:  # noqa: N802 - sympy's name
        return self < 2**62


class Node:
    def __init__(self, name: str, op: str, target: str = "", args: tuple[Any, ...] = (), val: Any = None) -> None:
        self.name, self.op, self.target, self.args, self.meta = name, op, target, args, {"val": val}
        self.users: dict[Node, None] = {}
        for one in args:
            if isinstance(one, Node):
                one.users[self] = None


class Cuda:
    """Simulates a GPU. `log` lists what was done, in order."""

    def __init__(self, torch: Double) -> None:
        self.there, self.log, self.peak = False, torch.log, 64 * 2**20

    def is_available(self) -> bool:
        return self.there

    def Event(self) -> Any:  # noqa: N802 - torch's name
        return SimpleNamespace(record=lambda: self.log.append("recorded"), synchronize=lambda: self.log.append("waited"))

    def synchronize(self) -> None:
        self.log.append("synchronised")

    def reset_peak_memory_stats(self) -> None:
        self.log.append("new peak")

    def max_memory_allocated(self) -> int:
        return self.peak

    def max_memory_reserved(self) -> int:
        return 2 * self.peak

    def current_device(self) -> int:
        return 0

    def get_device_properties(self, device: int) -> Any:
        return SimpleNamespace(name="NVIDIA Double", major=9, minor=0)

    def get_allocator_backend(self) -> str:
        return "native"


class Module:
    """Represents the module of a program."""

    def __init__(self, program: Program) -> None:
        self.program, self.types = program, {"float32"}

    def to(self, dtype: DType) -> Module:
        self.types = {dtype.name}
        return self

    def parameters(self) -> Iterator[Any]:
        return (SimpleNamespace(dtype=DType(name)) for name in sorted(self.types))

    def buffers(self) -> Iterator[Any]:
        return iter(())

    def __call__(self, *tensors: Tensor) -> Any:
        spec = self.program.spec
        if error := spec.get("raises"):
            raise RuntimeError(error)
        if self.program.device != "cpu":
            assert {tensor.device for tensor in tensors} == {self.program.device}, "a tensor is not where the model is"
            self.program.log.append("queued")
        first = tensors[0].array
        if spec["kind"] == "table":
            if first.size and not 0 <= int(first.min()) <= int(first.max()) < spec["rows"]:
                raise IndexError("index out of range in self")
            return np.arange(spec["rows"])[first]
        return np.asarray(sum(tensor.array for tensor in tensors))


class Program:
    """Represents what `load_pt2` makes of an archive."""

    def __init__(self, spec: dict[str, Any], log: list[str]) -> None:
        self.spec, self.device, self.log = spec, "cpu", log
        self.call_spec = SimpleNamespace(in_spec=len(spec["inputs"]))
        nodes = [Node("p_weight", "placeholder", val=SimpleNamespace(shape=(spec["rows"], 4)))]
        nodes += [
            Node(name, "placeholder", val=Tensor(SimpleNamespace(shape=_sizes(shape)), DType(dtype)))
            for name, dtype, shape in spec["inputs"]
        ]
        if spec["kind"] == "table":
            nodes.append(Node("embedding", "call_function", "aten.embedding.default", (nodes[0], nodes[1])))
        self.graph = SimpleNamespace(nodes=nodes)
        kind = SimpleNamespace(name="USER_INPUT")
        self.graph_signature = SimpleNamespace(
            input_specs=[SimpleNamespace(kind=kind, arg=SimpleNamespace(name=name)) for name, _, _ in spec["inputs"]]
        )
        self.range_constraints = {
            symbol: SimpleNamespace(lower=End(low), upper=End(2**62 if high is None else high))
            for symbol, (low, high) in spec.get("ranges", {}).items()
        }

    def module(self) -> Module:
        return Module(self)


def _sizes(shape: list[int | str]) -> tuple[Any, ...]:
    return tuple(SymInt(size) if isinstance(size, str) else size for size in shape)


class Reader:
    def __init__(self, path: str) -> None:
        self._path = path

    def get_all_records(self) -> list[str]:
        with zipfile.ZipFile(self._path) as archive:
            return [name.partition("/")[2] for name in archive.namelist()]

    def get_record(self, name: str) -> bytes:
        with zipfile.ZipFile(self._path) as archive:
            return archive.read(f"{archive.namelist()[0].partition('/')[0]}/{name}")


class Double(ModuleType):
    """Represents the module `torch`."""

    def __init__(self) -> None:
        super().__init__("torch")
        self.__spec__ = ModuleSpec("torch", None)
        self.__version__ = VERSION
        self.log: list[str] = []
        self.grad, self.threads, self.interop = True, 2, 2
        for name in TYPES:
            setattr(self, name, DType(name))
        self.Tensor = Tensor
        self.cuda, self.version = Cuda(self), SimpleNamespace(cuda="12.8", hip=None)
        self.mps = SimpleNamespace(synchronize=lambda: self.log.append("waited"), driver_allocated_memory=lambda: 32 * 2**20)
        self.backends = SimpleNamespace(
            mps=SimpleNamespace(is_available=lambda: False, is_built=lambda: False),
            cudnn=SimpleNamespace(version=lambda: 91_002, allow_tf32=True),
            mkldnn=SimpleNamespace(is_available=lambda: True),
            cpu=SimpleNamespace(get_cpu_capability=lambda: "AVX2"),
        )
        self.__config__ = SimpleNamespace(show=lambda: "PyTorch built with:\n  - Build settings: BLAS_INFO=mkl, BUILD_TYPE=Release")
        self._dynamo = SimpleNamespace(utils=SimpleNamespace(counters=defaultdict(Counter)))
        self._C = SimpleNamespace(PyTorchFileReader=Reader)
        self.jit = SimpleNamespace(load=self._no_script)

    def _no_script(self, path: str, map_location: str) -> Any:
        raise RuntimeError("PytorchStreamReader failed locating file constants.pkl: file not found")

    def from_numpy(self, array: Any) -> Tensor:
        return Tensor(array, getattr(self, str(array.dtype)))

    def set_grad_enabled(self, mode: bool) -> None:
        self.grad = mode

    def get_num_threads(self) -> int:
        return self.threads

    def set_num_threads(self, count: int) -> None:
        self.threads = count

    def get_num_interop_threads(self) -> int:
        return self.interop

    def set_num_interop_threads(self, count: int) -> None:
        self.interop = count

    def get_float32_matmul_precision(self) -> str:
        return "highest"

    def compile(self, model: Module, *, mode: str, dynamic: bool) -> Compiled:
        return Compiled(model, self._dynamo.utils.counters)


class Compiled:
    """Represents what `torch.compile` makes of a module. It compiles at the first call."""

    def __init__(self, module: Module, counters: Any) -> None:
        self.parameters, self.buffers = module.parameters, module.buffers
        self._module, self._counters = module, counters

    def __call__(self, *tensors: Tensor) -> Any:
        spec = self._module.program.spec
        if error := spec.get("compile_raises"):
            raise RuntimeError(error)
        self._counters["stats"]["unique_graphs"] = spec.get("graphs", 1)
        return self._module(*tensors)


@contextlib.contextmanager
def installed() -> Iterator[Double]:
    """Put the double in the place of torch, and import the engine's modules with it. Afterwards everything is as before."""
    ours = ("worker.engines.torch", "worker.engines.torch_exported", "worker.engines.torch_script", "worker.engines.torch_types")
    torch = Double()

    def load_pt2(path: str) -> Any:
        spec = json.loads(Reader(path).get_record("models/model.json"))["double"]
        return SimpleNamespace(exported_programs={"model": Program(spec, torch.log)})

    def move_to_device_pass(program: Program, device: str) -> Program:
        program.device = device
        return program

    modules: dict[str, Any] = {
        "torch": torch,
        "torch.export": ModuleType("torch.export"),
        "torch.export.passes": SimpleNamespace(move_to_device_pass=move_to_device_pass),
        "torch.export.pt2_archive": ModuleType("torch.export.pt2_archive"),
        "torch.export.pt2_archive._package": SimpleNamespace(load_pt2=load_pt2),
        "torch.utils": ModuleType("torch.utils"),
        "torch.utils._pytree": SimpleNamespace(tree_unflatten=lambda leaves, _treespec: (tuple(leaves), {})),
    }
    before = {name: sys.modules.pop(name, None) for name in (*modules, *ours)}
    sys.modules.update(modules)
    try:
        yield torch
    finally:
        for name, module in before.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module
