"""Computes shapes and small constants along a graph where this is simple: enough to know how many rows a table has.

This is not a full shape inference. An operator that is not listed here has outputs of unknown shape, unless the file states it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from worker.engines.onnx_graph.model import Node

Known = tuple[int | None, ...]  # None stands for an unknown size
MaybeShape = Known | None
MaybeInts = tuple[int, ...] | None
Inputs = Sequence[MaybeShape]
Constants = Sequence[MaybeInts]

# fmt: off
_SAME = frozenset(
    [
    "Identity", "Cast", "CastLike", "Dropout", "Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Gelu", "Sigmoid",
    "HardSigmoid", "HardSwish", "Mish", "Tanh", "Softplus", "Softsign", "Softmax", "LogSoftmax", "Hardmax", "Exp", "Log", "Sqrt",
    "Abs", "Neg", "Sign", "Erf", "Floor", "Ceil", "Round", "Reciprocal", "Not", "Clip", "QuantizeLinear", "DequantizeLinear",
    "Sin", "Cos", "BatchNormalization", "InstanceNormalization", "LayerNormalization", "SimplifiedLayerNormalization",
    "SkipLayerNormalization", "LpNormalization", "Normalizer", "Scaler", "Imputer", "CumSum", "Trilu", "FastGelu", "QuickGelu",
    "ScatterND", "ScatterElements", "Scatter", "ReverseSequence", "LabelEncoder", "IsNaN",
]
)
# fmt: on
# fmt: off
_BROADCAST = frozenset(
    [
    "Add", "Sub", "Mul", "Div", "Pow", "Mod", "Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "And", "Or", "Xor",
    "Max", "Min", "Sum", "Mean", "Where",
]
)
# fmt: on


def infer(node: Node, shapes: Inputs, ints: Constants) -> MaybeShape:
    """Return the shape of a node's first output, from the shapes and constant values of its inputs. None if it is not known."""
    try:
        if node.op in _SAME:
            return shapes[0]
        if node.op in _BROADCAST:
            return _broadcast(shapes)
        rule = _RULES.get(node.op)
        return rule(node, shapes, ints) if rule is not None else None
    except (IndexError, ValueError, ZeroDivisionError):
        # There are too few inputs, or the axis does not exist (a single value has none). The runtime will report it.
        return None


def fold(node: Node, shapes: Inputs, ints: Constants) -> MaybeInts:
    """Return the whole numbers that a node outputs, if they follow from constants and known shapes. Otherwise return None."""
    try:
        first = ints[0] if ints else None
        if node.op == "Constant":
            tensor = node.tensor("value")
            return tensor.ints if tensor is not None else tuple(node.numbers("value_ints")) or None
        if node.op == "Shape" and shapes[0] is not None:
            known = shapes[0][node.number("start", 0) : node.number("end", len(shapes[0]))]
            return tuple(size for size in known if size is not None) if None not in known else None
        if node.op == "Concat":
            return tuple(number for part in ints for number in part or ()) if None not in ints else None
        if first is None:
            return None
        if node.op in ("Identity", "Cast", "Unsqueeze", "Squeeze", "Reshape", "Flatten"):
            return first
        if node.op == "Gather" and ints[1] is not None:
            return tuple(first[place] for place in ints[1])
        if node.op in ("Add", "Sub", "Mul") and ints[1] is not None and 1 in (len(first), len(ints[1])):
            operation: Callable[[int, int], int] = {"Add": int.__add__, "Sub": int.__sub__, "Mul": int.__mul__}[node.op]
            count = max(len(first), len(ints[1]))
            return tuple(operation(first[i % len(first)], ints[1][i % len(ints[1])]) for i in range(count))
    except (IndexError, ZeroDivisionError):
        return None
    return None


def axis_size(shape: MaybeShape, axis: int) -> int | None:
    if shape is None or not -len(shape) <= axis < len(shape):
        return None
    return shape[axis]


def _place(axis: int, rank: int) -> int:
    """Return the axis counted from the front.

    Raises:
        IndexError: A value of this rank has no such axis. A scalar has none at all.
    """
    return range(rank)[axis]


def _broadcast(shapes: Inputs) -> MaybeShape:
    if not shapes or any(shape is None for shape in shapes):
        return None
    rank = max(len(shape) for shape in shapes if shape is not None)
    result: list[int | None] = []
    for place in range(-rank, 0):
        sizes = [shape[place] for shape in shapes if shape is not None and len(shape) >= -place]
        larger = [size for size in sizes if size is not None and size != 1]
        result.append(larger[0] if larger else None if None in sizes else 1)
    return tuple(result)


def _transpose(node: Node, shapes: Inputs, _: Constants) -> MaybeShape:
    shape = shapes[0]
    if shape is None:
        return None
    order = node.numbers("perm") or range(len(shape))[::-1]
    return tuple(shape[axis] for axis in order)


def _gather(node: Node, shapes: Inputs, _: Constants) -> MaybeShape:
    data, indices = shapes[0], shapes[1]
    if data is None or indices is None:
        return None
    axis = _place(node.number("axis", 0), len(data))
    return (*data[:axis], *indices, *data[axis + 1 :])


def _unsqueeze(node: Node, shapes: Inputs, ints: Constants) -> MaybeShape:
    axes = node.numbers("axes") or (ints[1] if len(ints) > 1 else None)
    if shapes[0] is None or not axes:
        return None
    rank = len(shapes[0]) + len(axes)
    result: list[int | None] = list(shapes[0])
    for axis in sorted(_place(axis, rank) for axis in axes):
        result.insert(axis, 1)
    return tuple(result)


def _squeeze(node: Node, shapes: Inputs, ints: Constants) -> MaybeShape:
    shape = shapes[0]
    if shape is None:
        return None
    axes = node.numbers("axes") or (ints[1] if len(ints) > 1 else None)
    if axes:
        gone = {_place(axis, len(shape)) for axis in axes}
        return tuple(size for axis, size in enumerate(shape) if axis not in gone)
    return tuple(size for size in shape if size != 1) if None not in shape else None


def _reshape(node: Node, shapes: Inputs, ints: Constants) -> MaybeShape:
    shape, wanted = shapes[0], ints[1] if len(ints) > 1 else tuple(node.numbers("shape"))
    if wanted is None:
        return None
    kept: list[int | None] = [
        (shape[place] if shape is not None else None) if size == 0 else size if size > 0 else None for place, size in enumerate(wanted)
    ]
    rest = math.prod(size for size in kept if size is not None)
    if wanted.count(-1) == 1 and kept.count(None) == 1 and shape is not None and None not in shape and rest:
        total = math.prod(size for size in shape if size is not None)
        kept[wanted.index(-1)] = total // rest
    return tuple(kept)


def _flatten(node: Node, shapes: Inputs, _: Constants) -> MaybeShape:
    shape = shapes[0]
    if shape is None or None in shape:
        return (None, None)
    axis, sizes = node.number("axis", 1), [size for size in shape if size is not None]
    return (math.prod(sizes[:axis]), math.prod(sizes[axis:]))


def _concat(node: Node, shapes: Inputs, _: Constants) -> MaybeShape:
    known = [shape for shape in shapes if shape is not None]
    if not known:
        return None
    axis = _place(node.number("axis", 0), len(known[0]))
    sizes = [shape[axis] if shape is not None else None for shape in shapes]
    total = sum(size for size in sizes if size is not None) if None not in sizes else None
    return tuple(total if place == axis else size for place, size in enumerate(known[0]))


def _reduce(node: Node, shapes: Inputs, ints: Constants) -> MaybeShape:
    shape = shapes[0]
    if shape is None:
        return None
    axes = node.numbers("axes") or (ints[1] if len(ints) > 1 else None)
    if axes is None and len(shapes) > 1:
        return None
    gone = {_place(axis, len(shape)) for axis in axes} if axes else set(range(len(shape)))
    if node.number("keepdims", 1):
        return tuple(1 if axis in gone else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in gone)


def _top_k(node: Node, shapes: Inputs, ints: Constants) -> MaybeShape:
    shape, kept = shapes[0], ints[1] if len(ints) > 1 else tuple(node.numbers("k"))
    if shape is None:
        return None
    axis = _place(node.number("axis", -1), len(shape))
    return (*shape[:axis], kept[0] if kept else None, *shape[axis + 1 :])


def _matmul(_: Node, shapes: Inputs, __: Constants) -> MaybeShape:
    left, right = shapes[0], shapes[1]
    if left is None or right is None or len(left) < 2 or len(right) < 2:
        return None
    return (*(left if len(left) >= len(right) else right)[:-2], left[-2], right[-1])


def _gemm(node: Node, shapes: Inputs, _: Constants) -> MaybeShape:
    left, right = shapes[0], shapes[1]
    if left is None or right is None:
        return None
    return (left[1 if node.number("transA", 0) else 0], right[0 if node.number("transB", 0) else 1])


def _constant(node: Node, _: Inputs, __: Constants) -> MaybeShape:
    tensor = node.tensor("value")
    if tensor is not None:
        return tensor.dims
    ints = node.numbers("value_ints")
    return (len(ints),) if ints else None


def _shape_of(_: Node, shapes: Inputs, __: Constants) -> MaybeShape:
    return None if shapes[0] is None else (len(shapes[0]),)


def _of_constant(_: Node, __: Inputs, ints: Constants) -> MaybeShape:
    return ints[0]


REDUCTIONS = tuple(f"Reduce{kind}" for kind in ["Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare"])

_RULES: dict[str, Callable[[Node, Inputs, Constants], MaybeShape]] = {
    **dict.fromkeys(REDUCTIONS, _reduce),
    "TopK": _top_k,
    "Transpose": _transpose,
    "Gather": _gather,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Concat": _concat,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Constant": _constant,
    "Shape": _shape_of,
    "ConstantOfShape": _of_constant,
}
