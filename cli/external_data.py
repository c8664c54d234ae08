"""Which files lie beside an ONNX model: the names of its external data, read without the `onnx` package.

A graph may keep its weights in other files and name them in its tensors. Those files must travel with it, so the names
are read from the protobuf itself: only the few fields that lead to tensors are entered, everything else is stepped over.
Field numbers are those of `onnx.proto` (they never change: it is how protobuf stays readable).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from shared.errors import FieldError, InvalidInput

_LENGTH_DELIMITED = 2
# message -> {field number: message of that field}; what is not named is not entered.
_WAY: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 25: "Function"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Function": {7: "Node"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {13: "Entry"},
}
_KEY, _VALUE = 1, 2


def external_files(model: Path) -> list[Path]:
    """The files named by the tensors of `model`, in the order of their first mention; empty for what is not a protobuf.

    Raises:
        InvalidInput: a name leads out of the model's folder, or there is no such file.
    """
    found: list[Path] = []
    for name in dict.fromkeys(_locations(model)):
        pure = PurePosixPath(name.replace("\\", "/"))
        if pure.is_absolute() or ".." in pure.parts:
            raise _invalid(model, f"its external data {name!r} lies outside the model's folder; move it beside the model")
        if not (model.parent / pure).is_file():
            raise _invalid(model, f"its external data {name!r} is missing; it belongs into {model.parent}")
        found.append(model.parent / pure)
    return found


def _invalid(model: Path, why: str) -> InvalidInput:
    message = f"model {str(model)!r}: {why}"
    return InvalidInput(message, fields=[FieldError("model", message)])


def _locations(model: Path) -> Iterator[str]:
    if model.stat().st_size == 0:
        return
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            yield from _walk(content, 0, len(content), "Model")
        except (IndexError, ValueError):
            return  # not a protobuf, or cut short: the device that loads it says so, with the runtime's own words


def _walk(content: mmap.mmap, start: int, end: int, message: str) -> Iterator[str]:
    way = _WAY[message]
    for number, begin, stop in _fields(content, start, end):
        entered = way.get(number)
        if entered == "Entry":
            pair = {field: bytes(content[a:b]) for field, a, b in _fields(content, begin, stop)}
            if pair.get(_KEY) == b"location":
                yield pair.get(_VALUE, b"").decode()
        elif entered is not None:
            yield from _walk(content, begin, stop, entered)


def _fields(content: mmap.mmap, position: int, end: int) -> Iterator[tuple[int, int, int]]:
    """`(number, start, end)` of each length-delimited field between two offsets."""
    while position < end:
        tag, position = _varint(content, position)
        kind = tag & 7
        if kind == 0:
            _, position = _varint(content, position)
        elif kind == _LENGTH_DELIMITED:
            length, position = _varint(content, position)
            if position + length > end:
                raise ValueError("a field is longer than its message")
            yield tag >> 3, position, position + length
            position += length
        elif kind in (1, 5):
            position += 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")


def _varint(content: mmap.mmap, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")
