"""Which files an ONNX model keeps its weights in, and which of them may be read.

Read straight from the protobuf wire format: the `onnx` package would cost a device 60 MB and half a second for a list of
names, and is not installed where one only submits. Nothing here opens a file: who calls maps it.

The walk has to enter whatever ONNX Runtime's own parser would, or a file could be named where nobody looks. So it takes
what protobuf takes: fields in any order and repeated, unknown ones, groups, nesting up to protobuf's limit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from shared.errors import ModelInvalid

if TYPE_CHECKING:
    from mmap import mmap

    Data = bytes | mmap

# onnx.proto: message -> field number -> message of that field. What is not listed is skipped unread.
SCHEMA: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
    "entry": {},
}
BYTES, GROUP, END_GROUP = 2, 3, 4
MAX_DEPTH = 100  # of messages and groups: protobuf's own limit, beyond which no runtime reads a model either
# Entered one by one: 3 s of a processor, half a minute of the slowest device's. An export of a large language model has a million.
MAX_FIELDS = 5_000_000
VALUE_FILES = (".npz", ".npy")  # a text in `options.values` that ends like this is the name of a file beside the model
MAX_FILES = 10_000  # each is a download; a model of this many tensors, a file each, is not known

# A run of numbers: their tags have one byte, wire type 0 (varint), 5 (four bytes) or 1 (eight). Tree ensembles hold millions.
_NUMBERS = re.compile(
    rb"(?:[%s][\x80-\xff]{0,9}[\x00-\x7f]|[%s][\s\S]{4}|[%s][\s\S]{8})++"
    % tuple(b"".join(re.escape(bytes([number << 3 | wire])) for number in range(1, 16)) for wire in (0, 5, 1))
)
_COUNT = re.compile(r"[0-9]{1,18}", re.ASCII)  # below 2^63
_LONG_NUMBER = re.compile(rb"[\x80-\xff]{0,9}[\x00-\x7f]")


class _NotProtobuf(Exception):
    """The runtime could not parse this either; saying so is its part."""


def external_locations(data: Data, model: str) -> list[str]:
    """Relative paths of the files beside a model that it names, in order, each once; empty for what is no ONNX model.

    Args:
        data: the whole model.
        model: its name, for the error.

    Raises:
        ModelInvalid: a location that leaves the model's folder, or a model made to be read for ever.
    """
    found: dict[str, None] = {}
    try:
        for location in _Walk(data, model).locations(0, len(data), "model", 0):
            check_location(location, model)
            found[location] = None
            if len(found) > MAX_FILES:
                raise ModelInvalid(f"{model} keeps its weights in more than {MAX_FILES} files; save them into one")
    except _NotProtobuf:
        return []
    return list(found)


def check_location(location: str, model: str) -> None:
    """
    Raises:
        ModelInvalid: the name of a file beside a model is absolute, leaves the model's folder, or is no file's name.
    """
    if not is_inside(location):
        raise ModelInvalid(
            f"{model} names {location!r:.300} as a file of its weights; only a relative path inside the model's own folder is read"
        )


def is_inside(location: str) -> bool:
    """Whether this is a relative path, written with `/`, that stays in its folder on every system.

    A `*` is refused for ONNX Runtime's sake: `*/_ORT_MEM_ADDR_/*` is its own name for an address in its memory.
    """
    path = PurePosixPath(location)
    plain = not set(location) & set('\\:*?"<>|') and location.isprintable()
    return bool(path.parts) and plain and not path.is_absolute() and ".." not in path.parts and not location.endswith("/")


class _Walk:
    def __init__(self, data: Data, model: str) -> None:
        self._data, self._model = data, model
        self._left = MAX_FIELDS

    def locations(self, start: int, end: int, message: str, depth: int) -> Iterator[str]:
        for number, begin, stop in self._fields(start, end, depth):
            kind = SCHEMA[message].get(number)
            if kind == "entry":
                key, value = self._entry(begin, stop, depth + 1)
                if key == "location":
                    yield value
                elif key in ("offset", "length") and _COUNT.fullmatch(value) is None:
                    raise ModelInvalid(
                        f"{self._model} gives {value!r:.100} as the {key} of a tensor in another file; it is a number of bytes"
                    )
            elif kind is not None:
                yield from self.locations(begin, stop, kind, depth + 1)

    def _entry(self, start: int, end: int, depth: int) -> tuple[str, str]:
        """A StringStringEntryProto: key 1, value 2; of a repeated one the last counts."""
        texts = {1: "", 2: ""}
        for number, begin, stop in self._fields(start, end, depth):
            texts[number] = self._data[begin:stop].decode("utf-8", errors="replace")
        return texts[1], texts[2]

    def _fields(self, start: int, end: int, depth: int) -> Iterator[tuple[int, int, int]]:
        """Number, begin and end of each length-delimited field; the others are stepped over."""
        if depth > MAX_DEPTH:
            raise ModelInvalid(f"{self._model} nests messages deeper than {MAX_DEPTH}: no runtime reads that")
        place, groups = start, 0
        while place < end:
            if self._data[place] & 7 != BYTES and (numbers := _NUMBERS.match(self._data, place, end)):
                place = numbers.end()
                continue
            self._left -= 1
            if self._left < 0:
                raise ModelInvalid(f"{self._model} consists of more than {MAX_FIELDS} parts: it is made to be read for ever, or no model")
            tag, place = self._varint(place, end)
            number, wire = tag >> 3, tag & 7
            if wire == BYTES:
                length, place = self._varint(place, end)
                if place + length > end:
                    raise _NotProtobuf
                if not groups:  # within a group nothing is known
                    yield number, place, place + length
                place += length
            elif wire in (GROUP, END_GROUP):
                groups += 1 if wire == GROUP else -1
                if not 0 <= groups <= MAX_DEPTH:
                    raise _NotProtobuf
            elif wire in (0, 1, 5):  # a number whose tag is longer than a byte
                place = self._varint(place, end)[1] if wire == 0 else place + (8 if wire == 1 else 4)
            else:
                raise _NotProtobuf
        if place != end or groups:
            raise _NotProtobuf

    def _varint(self, place: int, end: int) -> tuple[int, int]:
        if place < end and (first := self._data[place]) < 0x80:
            return first, place + 1
        found = _LONG_NUMBER.match(self._data, place, end)
        if found is None:
            raise _NotProtobuf
        value = 0
        for byte in reversed(found.group()):
            value = value << 7 | byte & 0x7F
        return value, found.end()
