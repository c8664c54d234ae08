"""Compares the double of torch with torch: each call of the double must exist, with the arguments that the engine gives."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch
import torch.export.passes
from torch.export.pt2_archive import _package
from torch.utils import _pytree

from tests import torch_double
from tests.engines.torch import networks


def test_what_the_double_has_is_in_torch() -> None:
    double = torch_double.Double()
    ours = {"log", "grad", "threads", "interop"}
    for name in {*vars(double), *vars(torch_double.Double)} - ours:
        assert name in ("__module__", "_no_script") or hasattr(torch, name), name
    for part in ("cuda", "version", "mps", "backends", "_C", "jit"):
        doubled = getattr(double, part)
        names = {*vars(doubled), *vars(type(doubled))} if part == "cuda" else set(vars(doubled))
        for name in names - {"there", "log", "peak"}:
            assert name.startswith("__") or hasattr(getattr(torch, part), name), f"torch.{part}.{name}"
    for part in ("mps", "cudnn", "mkldnn", "cpu"):
        for name in vars(getattr(double.backends, part)):
            assert hasattr(getattr(torch.backends, part), name), f"torch.backends.{part}.{name}"
    for name in ("record", "synchronize"):
        assert hasattr(torch.cuda.Event, name)
    assert {"mode", "dynamic"} <= set(inspect.signature(torch.compile).parameters)
    assert list(inspect.signature(torch.export.passes.move_to_device_pass).parameters) == ["ep", "location"]
    assert list(inspect.signature(_pytree.tree_unflatten).parameters) == ["leaves", "treespec"]


def test_a_program_of_the_double_has_what_a_real_one_has(tmp_path: Path) -> None:
    program = _package.load_pt2(str(networks.words(tmp_path))).exported_programs["model"]
    double = torch_double.Program({"kind": "table", "inputs": [("ids", "int64", ["s1", 5])], "rows": 7, "ranges": {"s1": (2, 64)}}, [])
    for name in vars(double).keys() - {"spec", "device", "log"}:
        assert hasattr(program, name), name
    real = {node.name: node for node in program.graph.nodes}
    for node in double.graph.nodes:
        for name in vars(node):
            assert hasattr(next(iter(real.values())), name), name
    assert str(real["embedding"].target) == "aten.embedding.default"
    (spec,) = [one for one in program.graph_signature.input_specs if one.kind.name == "USER_INPUT"][:1]
    assert spec.arg.name == "ids"
    ranges = {str(symbol): value for symbol, value in program.range_constraints.items()}
    assert any(value.upper.is_Integer and int(value.upper) == 64 for value in ranges.values())
    assert any(not value.upper.is_Integer for value in ranges.values())


def test_the_archive_of_the_double_is_named_like_a_real_one(tmp_path: Path) -> None:
    reader = torch._C.PyTorchFileReader(str(networks.mlp(tmp_path)))
    made = torch_double.Reader(str(torch_double.save(tmp_path / "double.pt2", "linear", [("x", "float32", [1])])))
    assert set(made.get_all_records()) <= set(reader.get_all_records())
    with pytest.raises(RuntimeError):
        reader.get_record("nothing")
