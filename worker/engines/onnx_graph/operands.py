"""Finds the element types of a node's inputs, for error messages about a missing kernel."""

from __future__ import annotations

from pathlib import Path

from worker.engines.onnx_graph.model import TYPES, Graph, open_model

# fmt: off
_OF_FIRST = frozenset(
    [
    "Identity", "Relu", "Transpose", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Slice", "Concat", "Add", "Sub", "Mul", "Div",
    "MatMul", "Gemm", "Gather",
]
)
# fmt: on


def types_given(path: Path, operator: str, name: str) -> list[str]:
    """Return the element types of a node's inputs without repetitions, as far as the file states them. Empty if it does not.

    Args:
        name: The name of the node. If it is empty, the first node with this operator is taken.
    """
    try:
        with open_model(path) as model:
            return [] if model is None else _types(model.graph, operator, name)
    except Exception:  # noqa: BLE001 - it adds a detail to a message, and must never take the message's place
        return []


def _types(graph: Graph, operator: str, name: str) -> list[str]:
    kinds = {value.name: value.kind for value in (*graph.inputs, *graph.infos, *graph.outputs)}
    kinds |= {tensor.name: tensor.kind for tensor in graph.tensors}
    for node in graph.nodes():
        if node.op == operator and name in ("", node.name):
            return [TYPES.get(kind, "unknown") for kind in dict.fromkeys(kinds.get(value, 0) for value in node.inputs if value) if kind]
        if node.outputs and node.op == "Cast":
            kinds.setdefault(node.outputs[0], node.number("to", 0))
        elif node.outputs and node.inputs and node.op in _OF_FIRST:
            kinds.setdefault(node.outputs[0], kinds.get(node.inputs[0], 0))
    return []
