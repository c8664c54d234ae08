"""Which files an ONNX model keeps its weights in.

Read straight from the protobuf wire format of onnx.proto (field numbers below): the `onnx` package would cost the
worker 60 MB and half a second for a list of names, and may not be installed where only onnxruntime is.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from shared.errors import ModelInvalid

Message = dict[int, str]

# onnx.proto: message -> field number -> message of that field. What is not listed is skipped unread.
SCHEMA: dict[str, Message] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
    "entry": {},
}
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MAX_DEPTH = 64


class _NotProtobuf(Exception):
    pass


def external_locations(model: Path) -> list[str]:
    """Relative paths of the files beside `model` that it names, in order, each once. Empty for anything that is no ONNX
    model: saying so is the runtime's part.

    Raises:
        ModelInvalid: a location that leaves the model's folder.
    """
    if model.stat().st_size == 0:
        return []
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            found = list(dict.fromkeys(_locations(data, 0, len(data), "model", 0)))
        except _NotProtobuf:
            return []
    for location in found:
        check_relative(location, model.name)
    return found


def check_relative(location: str, model: str) -> None:
    """Refuse a companion's name that is absolute or leaves the model's folder."""
    path = PurePosixPath(location)
    if not location or path.is_absolute() or ".." in path.parts or "\\" in location or ":" in location or "\0" in location:
        raise ModelInvalid(
            f"{model} names {location!r} as a file of its weights; only a relative path inside the model's own folder is read"
        )


def _locations(data: mmap.mmap, start: int, end: int, message: str, depth: int) -> Iterator[str]:
    if depth > MAX_DEPTH:
        raise _NotProtobuf
    for number, begin, stop in _fields(data, start, end):
        kind = SCHEMA[message].get(number)
        if kind == "entry":
            key, value = _entry(data, begin, stop)
            if key == "location":
                yield value
        elif kind is not None:
            yield from _locations(data, begin, stop, kind, depth + 1)


def _entry(data: mmap.mmap, start: int, end: int) -> tuple[str, str]:
    """A StringStringEntryProto: key 1, value 2."""
    texts = {1: "", 2: ""}
    for number, begin, stop in _fields(data, start, end):
        texts[number] = data[begin:stop].decode("utf-8", errors="replace")
    return texts[1], texts[2]


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, begin and end of each length-delimited field; the others are stepped over."""
    place = start
    while place < end:
        tag, place = _varint(data, place, end)
        number, wire = tag >> 3, tag & 7
        if wire == BYTES:
            length, place = _varint(data, place, end)
            if place + length > end:
                raise _NotProtobuf
            yield number, place, place + length
            place += length
        elif wire == VARINT:
            _, place = _varint(data, place, end)
        elif wire in (FIXED64, FIXED32):
            place += 8 if wire == FIXED64 else 4
        else:
            raise _NotProtobuf


def _varint(data: mmap.mmap, place: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= end:
            break
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise _NotProtobuf
