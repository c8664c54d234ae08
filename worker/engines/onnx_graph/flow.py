"""Follows a model's inputs through its graph, into branches, loops and functions, to the operators that limit their values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from worker.engines.onnx_graph.model import MAX_DEPTH, MAX_NODES, Graph, Model, Node, Shape, TooLarge, Value
from worker.engines.onnx_graph.shapes import MaybeInts, MaybeShape, axis_size, fold, infer
from worker.engines.onnx_graph.traces import Origin, Trace, by_column, joined, of_input
from worker.engines.onnx_graph.uses import Call, Use, uses_of
from worker.engines.onnx_graph.wire import NotProtobuf

T = TypeVar("T")

_UNCHANGED = frozenset({"Identity", "Cast", "CastLike", "OptionalGetElement", "StringNormalizer", "Abs"})
_RESHAPED = frozenset({"Reshape", "Unsqueeze", "Squeeze", "Flatten", "Transpose"})
# fmt: off
_PARTS = frozenset(
    [
    "Expand", "Tile", "Slice", "Pad", "GatherElements", "GatherND", "Max", "ReduceMax", "ReduceMin", "Compress", "Neg",
    "ScatterND", "ScatterElements", "Not", "TopK",
]
)
# fmt: on
_CHOICES = {"Where": (1, 2), "Concat": None, "And": None, "Or": None, "Xor": None, "Min": None}
_COMPARISONS = frozenset({"Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual"})
_BODIES = {"If": ("then_branch", "else_branch"), "Loop": ("body",), "Scan": ("body",)}


class _Inner(dict[str, T]):
    """Maps the names of a body's own values, and looks up all others in the mapping of the graph around it.

    The outermost graph has a plain dictionary: a `ChainMap` for it took a sixth of the time of the whole walk.
    """

    def __init__(self, around: dict[str, T]) -> None:
        self._around = around

    def __missing__(self, name: str) -> T:
        return self._around[name]

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in self._around

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name, self._around.get(name, default))


@dataclass
class Scope:
    """Holds what is known of the values that a graph can name: its own values, and those of the graphs around it."""

    traces: dict[str, Trace] = field(default_factory=dict)
    shapes: dict[str, MaybeShape] = field(default_factory=dict)
    ints: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def inner(self) -> Scope:
        return Scope(_Inner(self.traces), _Inner(self.shapes), _Inner(self.ints))


class Flow:
    """Walks once over a model whose inputs have known shapes. `run` yields each use together with the trace of the value that is used.

    A node that cannot be analysed is left out, and its outputs are unknown: the runtime may run it nevertheless.

    Args:
        not_followed: Called with each such node and the error.
    """

    def __init__(self, model: Model, shapes: Mapping[str, tuple[int, ...]], not_followed: Callable[[Node, Exception], None]) -> None:
        self._model, self._bound, self._not_followed = model, shapes, not_followed
        self._sizes = {
            part: size
            for value in model.graph.inputs
            if value.name in shapes and value.shape is not None
            for part, size in zip(value.shape, shapes[value.name], strict=False)
            if isinstance(part, str)
        }
        self._left = MAX_NODES

    def run(self) -> Iterator[tuple[Use, Trace]]:
        scope = Scope()
        for name, shape in self._bound.items():
            scope.traces[name], scope.shapes[name] = of_input(name, shape), shape
        yield from self._graph(self._model.graph, scope, 0)

    def _graph(self, graph: Graph, scope: Scope, depth: int) -> Iterator[tuple[Use, Trace]]:
        for tensor in graph.tensors:
            scope.shapes[tensor.name] = tensor.dims
            if tensor.ints is not None:
                scope.ints[tensor.name] = tensor.ints
        self._take_infos([*graph.infos, *graph.outputs, *graph.inputs], scope)
        yield from self._nodes(graph.nodes(), scope, depth)

    def _take_infos(self, values: Iterable[Value], scope: Scope) -> None:
        for value in values:
            if value.shape is not None and value.name not in scope.shapes:
                scope.shapes[value.name] = self._sized(value.shape)

    def _sized(self, shape: Shape) -> MaybeShape:
        return tuple(self._sizes.get(part) if isinstance(part, str) else part if part is not None and part >= 0 else None for part in shape)

    def _nodes(self, nodes: Iterable[Node], scope: Scope, depth: int) -> Iterator[tuple[Use, Trace]]:
        for node in nodes:
            self._left -= 1
            if self._left < 0 or depth > MAX_DEPTH:
                raise TooLarge
            try:
                yield from self._node(node, scope, depth)
            except (NotProtobuf, TooLarge):
                raise
            except Exception as error:  # noqa: BLE001 - a defect of ours, or a strange node, must not fail a job that the runtime can run
                self._not_followed(node, error)

    def _node(self, node: Node, scope: Scope, depth: int) -> Iterator[tuple[Use, Trace]]:
        shapes = [scope.shapes.get(name) for name in node.inputs]
        ints: list[MaybeInts] = [scope.ints.get(name) for name in node.inputs]
        traces = [scope.traces.get(name) for name in node.inputs]
        if any(trace is not None for trace in traces):
            for use in uses_of(Call(node, shapes, ints)):
                trace = traces[use.place] if use.place < len(traces) else None
                if trace is not None:
                    yield use, trace
        function = self._model.functions.get((node.domain, node.op))
        if function is not None:
            inner = self._enter(node.inputs, function.inputs, Scope(), scope)
            yield from self._nodes(function.nodes(), inner, depth + 1)
            self._leave(function.outputs, node.outputs, inner, scope)
            return
        for name in _BODIES.get(node.op, ()):
            body = node.graph(name)
            if body is not None:
                inner = self._enter(*_formals(node, body), scope.inner(), scope)
                carried = _carried(node, body)
                if node.op == "Scan":
                    _take_slices(node, [value.name for value in body.inputs[carried:]], inner)
                yield from self._graph(body, inner, depth + 1)
                outputs = [value.name for value in body.outputs[1 if node.op == "Loop" else 0 :]]
                self._leave(outputs[:carried], node.outputs[:carried], inner, scope)
                # these are the slices of all turns, stacked
                for given, name in zip(outputs[carried:], node.outputs[carried:], strict=False):
                    if given in inner.traces and name not in scope.traces:
                        scope.traces[name] = inner.traces[given].mixed()
                    slice_shape = inner.shapes.get(given)
                    if slice_shape is not None and scope.shapes.get(name) is None and not any(node.numbers("scan_output_axes")):
                        scope.shapes[name] = (_turns(node, carried, scope), *slice_shape)
        self._put_out(node, scope, shapes, ints, traces)

    def _put_out(self, node: Node, scope: Scope, shapes: list[MaybeShape], ints: list[MaybeInts], traces: Sequence[Trace | None]) -> None:
        if not node.outputs:
            return
        first = node.outputs[0]
        shape, numbers = infer(node, shapes, ints), fold(node, shapes, ints)
        known = scope.shapes.get(first)
        if shape is not None and (known is None or None in known):
            scope.shapes[first] = shape
            if node.op == "TopK":
                scope.shapes.update((name, shape) for name in node.outputs)
        if numbers is not None:
            scope.ints[first] = numbers
        for name, trace in zip(node.outputs, _put_out(node, traces, shapes, ints), strict=False):
            if trace is not None:
                scope.traces[name] = trace

    def _enter(self, actual: Sequence[str], formal: Sequence[str], inner: Scope, outer: Scope) -> Scope:
        for given, name in zip(actual, formal, strict=False):
            self._copy(given, name, outer, inner)
        return inner

    def _leave(self, formal: Sequence[str], actual: Sequence[str], inner: Scope, outer: Scope) -> None:
        for given, name in zip(formal, actual, strict=False):
            if name not in outer.traces:
                self._copy(given, name, inner, outer)

    def _copy(self, old: str, new: str, source: Scope, target: Scope) -> None:
        if old in source.traces:
            target.traces[new] = source.traces[old]
        if old in source.ints:
            target.ints[new] = source.ints[old]
        shape = source.shapes.get(old)
        if shape is not None:
            target.shapes[new] = shape


def _carried(node: Node, body: Graph) -> int:
    """Return how many values a body passes on unchanged from turn to turn. For an If, these are all of its outputs."""
    if node.op == "Loop":
        return len(body.inputs) - 2
    return len(body.inputs) - node.number("num_scan_inputs", 0) if node.op == "Scan" else len(body.outputs)


def _turns(node: Node, carried: int, scope: Scope) -> int | None:
    """Return how often the body of a Scan runs. None if this is not known, as for a Loop."""
    scanned = node.inputs[carried] if node.op == "Scan" and carried < len(node.inputs) else ""
    return axis_size(scope.shapes.get(scanned), (node.numbers("scan_input_axes") or [0])[0])


def _take_slices(node: Node, names: Sequence[str], inner: Scope) -> None:
    """Give the body of a Scan one slice of each of these values, without the axis that is scanned."""
    axes = node.numbers("scan_input_axes") or [0] * len(names)
    for name, axis in zip(names, axes, strict=False):
        shape = inner.shapes.get(name)
        if shape and -len(shape) <= axis < len(shape):
            inner.shapes[name] = (*shape[: axis % len(shape)], *shape[axis % len(shape) + 1 :])
        if name in inner.traces:
            inner.traces[name] = inner.traces[name].mixed()
        inner.ints.pop(name, None)


def _formals(node: Node, body: Graph) -> tuple[list[str], list[str]]:
    """Return the names of the values that a node passes to its body, and their names inside the body."""
    names = [value.name for value in body.inputs]
    if node.op == "Loop":  # both have two inputs of their own first; the inputs after them correspond
        return node.inputs[2:], names[2:]
    return list(node.inputs), names


def _put_out(node: Node, traces: Sequence[Trace | None], shapes: Sequence[MaybeShape], ints: Sequence[MaybeInts]) -> list[Trace | None]:
    """Return the traces of a node's outputs. A value that is computed from an input in any other way is no longer traced."""
    if not any(trace is not None for trace in traces):
        return []
    first = traces[0]
    if node.op in _UNCHANGED:
        return [first]
    if node.op in _RESHAPED:
        return [None if first is None else first.reshaped()]
    if node.op in ("Gather", "ArrayFeatureExtractor") and first is not None:
        shape = shapes[0]
        last = node.op == "ArrayFeatureExtractor" or (shape is not None and node.number("axis", 0) in (-1, len(shape) - 1))
        picked = ints[1] if len(ints) > 1 else None
        return [first.picked(picked) if last and picked is not None else first.mixed()]
    if node.op == "Split" and first is not None:
        return _split(node, first, shapes, ints)
    if node.op in ("Add", "Sub", "Mul"):
        return [_calculated(node, traces, ints)]
    if node.op in _COMPARISONS:
        return [_compared(traces, ints)]
    if node.op in _PARTS:
        return [None if first is None else first.mixed()]
    if node.op in _CHOICES:
        places = _CHOICES[node.op]
        chosen = [trace for place, trace in enumerate(traces) if places is None or place in places]
        return [_concatenated(node, chosen, shapes) or joined(trace for trace in chosen if trace is not None)]
    return []


def _concatenated(node: Node, traces: Sequence[Trace | None], shapes: Sequence[MaybeShape]) -> Trace | None:
    """Return the trace of a Concat along the last axis whose columns are all known. None for any other node."""
    known = shapes[0] if shapes else None
    if node.op != "Concat" or known is None or node.number("axis", 0) not in (-1, len(known) - 1):
        return None
    columns: list[frozenset[Origin]] = []
    for trace, shape in zip(traces, shapes, strict=False):
        if trace is not None and trace.columns is not None:
            columns.extend(trace.columns)
        elif shape is not None and shape and shape[-1] is not None and shape[-1] <= 4096:
            columns.extend([trace.origins if trace is not None else frozenset()] * shape[-1])
        else:
            return None
    return by_column(columns)


def _split(node: Node, trace: Trace, shapes: Sequence[MaybeShape], ints: Sequence[MaybeInts]) -> list[Trace | None]:
    shape, count = shapes[0], len(node.outputs)
    sizes = node.numbers("split") or (ints[1] if len(ints) > 1 else None)
    if shape is None or trace.columns is None or node.number("axis", 0) not in (-1, len(shape) - 1):
        return [trace.mixed()] * count
    width = -(-len(trace.columns) // count)
    sizes, parts, begin = list(sizes or [width] * count), [], 0
    for size in sizes:
        parts.append(by_column(trace.columns[begin : begin + size]))
        begin += size
    return list(parts)


def _calculated(node: Node, traces: Sequence[Trace | None], ints: Sequence[MaybeInts]) -> Trace | None:
    left, right = traces[0], traces[1] if len(traces) > 1 else None
    if left is not None and right is not None:
        return joined([left, right])
    numbers = (ints[1] if left is not None else ints[0]) if len(ints) > 1 else None
    trace = left if left is not None else right
    if trace is None or not numbers:
        return None
    if node.op == "Add":
        return trace.moved(numbers, 1)
    if node.op == "Sub":
        return trace.moved(numbers, -1) if left is not None else None
    return trace.scaled(numbers[0]) if len(numbers) == 1 and numbers[0] > 0 else None


def _compared(traces: Sequence[Trace | None], ints: Sequence[MaybeInts]) -> Trace | None:
    place = 0 if traces[0] is not None else 1
    trace = traces[place] if place < len(traces) else None
    other = ints[1 - place] if len(ints) > 1 else None
    return None if trace is None else trace.compared_with(other[0] if other and len(other) == 1 else None)
