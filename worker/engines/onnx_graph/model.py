"""Reads an ONNX model without its weights: nodes, names and shapes. Attributes are read only when they are asked for."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from worker.engines.onnx_graph.wire import Data, NotProtobuf, Span, fields, packed, signed, text

Shape = tuple[int | str | None, ...]

MAX_CONSTANT = 4096  # constants with more elements are weights and are not kept
MAX_NODES = 300_000  # a larger graph is not followed, because that would take minutes on a slow device
MAX_DEPTH = 30  # how deep subgraphs may be nested
INT32, INT64, STRING = 6, 7, 8  # TensorProto.DataType
# Element types by TensorProto.DataType, as the runtime writes them.
# fmt: off
TYPES = dict(
    enumerate(
        [
    "undefined", "float", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool", "float16", "double", "uint32",
    "uint64", "complex64", "complex128", "bfloat16", "float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz", "uint4",
    "int4",
]
    )
)
# fmt: on


class TooLarge(Exception):
    """Raised when a graph has more nodes, or deeper subgraphs, than are followed."""


@dataclass(frozen=True)
class Tensor:
    """Holds a constant. `ints` and `texts` hold its elements if they are whole numbers or texts and there are few of them."""

    name: str
    kind: int
    dims: tuple[int, ...]
    ints: tuple[int, ...] | None = None
    texts: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Value:
    """Holds a named value with its type. `shape` is None if the file does not state the rank."""

    name: str
    kind: int
    shape: Shape | None


@dataclass
class Graph:
    data: Data
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    infos: list[Value] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    node_spans: list[Span] = field(default_factory=list)

    def nodes(self) -> Iterator[Node]:
        return (Node(self.data, span) for span in self.node_spans)


@dataclass(frozen=True)
class Function:
    """Holds a function that the model itself defines: a list of nodes, and the names of its inputs and outputs."""

    data: Data
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    node_spans: tuple[Span, ...]

    def nodes(self) -> Iterator[Node]:
        return (Node(self.data, span) for span in self.node_spans)


@dataclass
class Model:
    graph: Graph
    functions: dict[tuple[str, str], Function] = field(default_factory=dict)


class Node:
    """Represents one call of an operator."""

    def __init__(self, data: Data, span: Span) -> None:
        self._data = data
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.op = self.name = self.domain = ""
        self._attribute_spans: list[Span] = []
        for number, _, part in fields(data, span):
            if number == 1:
                self.inputs.append(text(data, part))
            elif number == 2:
                self.outputs.append(text(data, part))
            elif number == 3:
                self.name = text(data, part)
            elif number == 4:
                self.op = text(data, part)
            elif number == 5:
                self._attribute_spans.append(part)
            elif number == 7:
                self.domain = text(data, part)

    def number(self, name: str, default: int) -> int:
        for number, value, _ in self._attribute(name):
            if number == 3:
                return signed(value)
        return default

    def numbers(self, name: str) -> list[int]:
        found: list[int] = []
        for number, value, part in self._attribute(name):
            if number == 8:
                found.extend(packed(self._data, part) if part != (0, 0) else [signed(value)])
        return found

    def texts(self, name: str) -> list[str]:
        return [text(self._data, part) for number, _, part in self._attribute(name) if number == 9]

    def text(self, name: str) -> str:
        return next((text(self._data, part) for number, _, part in self._attribute(name) if number == 4), "")

    def tensor(self, name: str) -> Tensor | None:
        return next((read_tensor(self._data, part) for number, _, part in self._attribute(name) if number == 5), None)

    def graph(self, name: str) -> Graph | None:
        return next((read_graph(self._data, part) for number, _, part in self._attribute(name) if number == 6), None)

    def _attribute(self, name: str) -> Iterator[tuple[int, int, Span]]:
        span = self._named_spans.get(name)
        return fields(self._data, span) if span is not None else iter(())

    @cached_property
    def _named_spans(self) -> dict[str, Span]:
        found = {}
        for span in self._attribute_spans:
            for number, _, part in fields(self._data, span):
                if number == 1:
                    found[text(self._data, part)] = span
                    break
        return found


@contextmanager
def open_model(path: Path) -> Iterator[Model | None]:
    """Open the model of a file for use within the `with` block. Gives None if the file is no ONNX protobuf (but ORT's own format)."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            model = _read_model(data)
        except NotProtobuf:
            model = None
        yield model


def read_inputs(path: Path) -> list[Value]:
    """Return the inputs of the model of a file, without reading its nodes. The list is empty if the file is no ONNX protobuf."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            graphs = [part for number, _, part in fields(data, (0, len(data))) if number == 7]
        except NotProtobuf:
            return []
        return [_read_value(data, part) for number, _, part in fields(data, graphs[-1]) if number == 11] if graphs else []


def read_graph(data: Data, span: Span) -> Graph:
    graph = Graph(data)
    for number, _, part in fields(data, span):
        if number == 1:
            graph.node_spans.append(part)
            if len(graph.node_spans) > MAX_NODES:
                raise TooLarge
        elif number == 5:
            graph.tensors.append(read_tensor(data, part))
        elif number == 11:
            graph.inputs.append(_read_value(data, part))
        elif number == 12:
            graph.outputs.append(_read_value(data, part))
        elif number == 13:
            graph.infos.append(_read_value(data, part))
    return graph


def read_tensor(data: Data, span: Span) -> Tensor:
    name, kind = "", 0
    dims: list[int] = []
    numbers: list[int] = []
    texts: list[str] = []
    for number, value, part in fields(data, span):
        small = part[1] - part[0] <= 10 * MAX_CONSTANT
        if number == 1:
            dims.extend(packed(data, part) if part != (0, 0) else [signed(value)])
        elif number == 2:
            kind = value
        elif number in (5, 7) and small:
            numbers.extend(packed(data, part) if part != (0, 0) else [signed(value)])
        elif number == 6 and len(texts) < MAX_CONSTANT:
            texts.append(text(data, part))
        elif number == 8:
            name = text(data, part)
        elif number == 9 and small and kind in (INT32, INT64):
            width = 4 if kind == INT32 else 8
            raw = bytes(data[part[0] : part[1]])
            count = len(raw) // width
            numbers.extend(struct.unpack(f"<{count}{'i' if kind == INT32 else 'q'}", raw[: count * width]))
    whole = tuple(numbers) if kind in (INT32, INT64) and (numbers or 0 in dims) else None
    return Tensor(name, kind, tuple(dims), whole, tuple(texts) if kind == STRING else None)


def _read_model(data: Data) -> Model:
    graph, functions = Graph(data), {}
    for number, _, part in fields(data, (0, len(data))):
        if number == 7:
            graph = read_graph(data, part)
        elif number == 25:
            key, function = _read_function(data, part)
            functions[key] = function
    return Model(graph, functions)


def _read_function(data: Data, span: Span) -> tuple[tuple[str, str], Function]:
    name = domain = ""
    inputs, outputs, nodes = [], [], []
    for number, _, part in fields(data, span):
        if number == 1:
            name = text(data, part)
        elif number == 4:
            inputs.append(text(data, part))
        elif number == 5:
            outputs.append(text(data, part))
        elif number == 7:
            nodes.append(part)
        elif number == 10:
            domain = text(data, part)
    return (domain, name), Function(data, tuple(inputs), tuple(outputs), tuple(nodes))


def _read_value(data: Data, span: Span) -> Value:
    name, kind, shape = "", 0, None
    for number, _, part in fields(data, span):
        if number == 1:
            name = text(data, part)
        elif number == 2:
            kind, shape = _read_type(data, part)
    return Value(name, kind, shape)


def _read_type(data: Data, span: Span) -> tuple[int, Shape | None]:
    kind, shape = 0, None
    for number, _, part in fields(data, span):
        if number == 1:  # a tensor; sequences, maps and optional values have other field numbers
            for inner, value, inner_part in fields(data, part):
                if inner == 1:
                    kind = value
                elif inner == 2:
                    shape = tuple(_read_dim(data, dim) for field_number, _, dim in fields(data, inner_part) if field_number == 1)
    return kind, shape


def _read_dim(data: Data, span: Span) -> int | str | None:
    for number, value, part in fields(data, span):
        if number == 1:
            return signed(value)
        if number == 2:
            return text(data, part) or None
    return None
