"""Builds small ONNX models of every kind that the engine must accept, and broken ones that it must refuse with a reason."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias
from typing import cast as typed

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Value: TypeAlias = onnx.ValueInfoProto
OPSET = 21
IR_VERSION = 10


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    weights: Sequence[onnx.TensorProto] = (),
    *,
    opset: int = OPSET,
    ir_version: int = IR_VERSION,
    domains: Sequence[str] = (),
) -> Path:
    graph = helper.make_graph(list(nodes), "g", list(inputs), list(outputs), list(weights))
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=ir_version, producer_name="tests")
    path.write_bytes(model.SerializeToString())
    return path


def tensor(name: str, kind: int, shape: Sequence[int | str | None]) -> Value:
    return typed(Value, helper.make_tensor_value_info(name, kind, list(shape)))


def weight(name: str, values: NDArray[np.generic]) -> onnx.TensorProto:
    return numpy_helper.from_array(values, name)


def identity(path: Path, kind: int, shape: Sequence[int | str | None] = (2, 3), name: str = "x") -> Path:
    """Build a model that returns its one input. It runs with every type of the runtime."""
    return save(path, [helper.make_node("Identity", [name], ["y"])], [tensor(name, kind, shape)], [tensor("y", kind, shape)])


def cast(path: Path, kind: int) -> Path:
    """Build a model with a float input and an output of the type `kind`."""
    node = helper.make_node("Cast", ["x"], ["y"], to=kind)
    return save(path, [node], [tensor("x", TensorProto.FLOAT, ["N", 4])], [tensor("y", kind, ["N", 4])])


def old_add(path: Path) -> Path:
    """Build an `Add` as opset 6 defines it. The runtime implements the definitions from opset 7 on."""
    values = [tensor(name, TensorProto.FLOAT, [2]) for name in ("x", "z", "y")]
    return save(path, [helper.make_node("Add", ["x", "z"], ["y"])], values[:2], values[2:], opset=6, ir_version=3)


def linear(path: Path, *, batch: int | str = 1) -> Path:
    """Build y = x W with a 4 × 3 weight."""
    w = weight("w", np.ones((4, 3), dtype=np.float32))
    shapes = tensor("x", TensorProto.FLOAT, [batch, 4]), tensor("y", TensorProto.FLOAT, [batch, 3])
    return save(path, [helper.make_node("MatMul", ["x", "w"], ["y"])], [shapes[0]], [shapes[1]], [w])


def bert_like(path: Path) -> Path:
    """Build a model of three int64 inputs with symbolic dimensions. Ids must be below 120, the number of rows of its table."""
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["words"]),
        helper.make_node("Gather", ["segments", "token_type_ids"], ["types"]),
        helper.make_node("Add", ["words", "types"], ["sum"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "axis"], ["wide"]),
        helper.make_node("Mul", ["sum", "wide"], ["y"]),
    ]
    names = ["input_ids", "attention_mask", "token_type_ids"]
    inputs = [tensor(name, TensorProto.INT64, ["batch", "sequence"]) for name in names]
    weights = [
        weight("table", np.ones((120, 8), dtype=np.float32)),
        weight("segments", np.ones((1, 8), dtype=np.float32)),
        weight("axis", np.array([2], dtype=np.int64)),
    ]
    return save(path, nodes, inputs, [tensor("y", TensorProto.FLOAT, ["batch", "sequence", 8])], weights)


def conditional(path: Path) -> Path:
    """Build a model with subgraphs, between which a boolean scalar chooses."""
    then = helper.make_graph([helper.make_node("Identity", ["x"], ["a"])], "then", [], [tensor("a", TensorProto.FLOAT, [2])])
    other = helper.make_graph([helper.make_node("Neg", ["x"], ["b"])], "else", [], [tensor("b", TensorProto.FLOAT, [2])])
    node = helper.make_node("If", ["choose"], ["y"], then_branch=then, else_branch=other)
    inputs = [tensor("choose", TensorProto.BOOL, []), tensor("x", TensorProto.FLOAT, [2])]
    return save(path, [node], inputs, [tensor("y", TensorProto.FLOAT, [2])])


def quantized(path: Path) -> Path:
    """Build an integer matrix product: uint8 inputs, int8 weights and int32 outputs."""
    nodes = [helper.make_node("MatMulInteger", ["x", "w"], ["y"])]
    w = weight("w", np.ones((4, 3), dtype=np.int8))
    return save(path, nodes, [tensor("x", TensorProto.UINT8, ["n", 4])], [tensor("y", TensorProto.INT32, ["n", 3])], [w])


def external(folder: Path, *, location: str = "weights/big.bin", values: int = 4096) -> Path:
    """Write a model whose weight is in a separate file."""
    data = np.arange(values, dtype=np.float32)
    w = weight("w", data)
    w.ClearField("raw_data")
    w.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "0", "length": str(data.nbytes)}.items():
        w.external_data.add(key=key, value=value)
    folder.mkdir(parents=True, exist_ok=True)
    if ".." not in location and not location.startswith("/"):
        (folder / location).parent.mkdir(parents=True, exist_ok=True)
        (folder / location).write_bytes(data.tobytes())
    shape = [values]
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    return save(folder / "external.onnx", nodes, [tensor("x", TensorProto.FLOAT, shape)], [tensor("y", TensorProto.FLOAT, shape)], [w])


def unknown_operator(path: Path) -> Path:
    shapes = tensor("x", TensorProto.FLOAT, [1]), tensor("y", TensorProto.FLOAT, [1])
    return save(path, [helper.make_node("Frobnicate", ["x"], ["y"])], [shapes[0]], [shapes[1]])


def reshaped(path: Path) -> Path:
    """Build a model that reshapes a batch of sequences to rows of 64. This is impossible if each free dimension is 1."""
    x, y = tensor("x", TensorProto.FLOAT, ["batch", "sequence", 8]), tensor("y", TensorProto.FLOAT, [None, 64])
    rows = weight("rows", np.array([-1, 64], dtype=np.int64))
    return save(path, [helper.make_node("Reshape", ["x", "rows"], ["y"])], [x], [y], [rows])


def foreign_operator(path: Path, *, imported: bool = True) -> Path:
    shapes = tensor("x", TensorProto.FLOAT, [1]), tensor("y", TensorProto.FLOAT, [1])
    node = helper.make_node("Frobnicate", ["x"], ["y"], domain="example.org")
    return save(path, [node], [shapes[0]], [shapes[1]], domains=["example.org"] if imported else [])


def missing_kernel(path: Path) -> Path:
    """Build a registered operator with a type for which the CPU provider has no kernel."""
    x, y = tensor("x", TensorProto.BFLOAT16, [2, 2]), tensor("y", TensorProto.BFLOAT16, [])
    return save(path, [helper.make_node("Det", ["x"], ["y"])], [x], [y], opset=22)


def opset_of_tomorrow(path: Path) -> Path:
    x, y = tensor("x", TensorProto.FLOAT, [1]), tensor("y", TensorProto.FLOAT, [1])
    return save(path, [helper.make_node("Relu", ["x"], ["y"])], [x], [y], opset=99)


def format_of_tomorrow(path: Path) -> Path:
    x, y = tensor("x", TensorProto.FLOAT, [1]), tensor("y", TensorProto.FLOAT, [1])
    return save(path, [helper.make_node("Relu", ["x"], ["y"])], [x], [y], ir_version=99)
