"""Finds the files in which an ONNX model stores its weights, and checks that they may be read.

This module parses the protobuf wire format itself. The `onnx` package would cost a device 60 MB and half a second only to list names, and
it is not installed on machines that only submit jobs. This module opens no file: the caller passes the content, for example as a mmap.

The parser must enter every message that the parser of ONNX Runtime enters. Otherwise a model could name a file in a place that is never
checked. So it accepts what protobuf accepts: fields in any order, repeated fields, unknown fields, groups, and nesting up to protobuf's
limit.
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

# These are the messages of onnx.proto that can lead to a file name: message -> field number -> message in that field. Other fields are
# skipped.
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
MAX_DEPTH = 100  # nesting of messages and groups; this is protobuf's own limit, so no runtime reads a deeper model
# Parsing this many fields takes 3 s on a fast processor and 30 s on the slowest device. A large language model has about a million.
MAX_FIELDS = 5_000_000
VALUE_FILES = (".npz", ".npy")  # a text in `options.values` with one of these endings names a file in the model's folder
MAX_FILES = 10_000  # each file is a separate download; we know of no model with more

# Matches a run of number fields whose tags are one byte: wire type 0 (varint), 5 (four bytes) or 1 (eight bytes). It skips them quickly;
# a tree ensemble has millions.
_NUMBERS = re.compile(
    rb"(?:[%s][\x80-\xff]{0,9}[\x00-\x7f]|[%s][\s\S]{4}|[%s][\s\S]{8})++"
    % tuple(b"".join(re.escape(bytes([number << 3 | wire])) for number in range(1, 16)) for wire in (0, 5, 1))
)
_COUNT = re.compile(r"[0-9]{1,18}", re.ASCII)  # below 2^63
_LONG_NUMBER = re.compile(rb"[\x80-\xff]{0,9}[\x00-\x7f]")


class _NotProtobuf(Exception):
    """Is raised when the data is not valid protobuf. The runtime will report that error, so this module does not."""


def external_locations(data: Data, model: str) -> list[str]:
    """Return the relative paths of the files that a model names, each once, in their order in the model.

    The list is empty if `data` is not an ONNX model.

    Args:
        data: the whole model file.
        model: its name, for error messages.

    Raises:
        ModelInvalid: a path leaves the model's folder, the offset or length of a tensor is not a number, or the model exceeds a limit.
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
    """Check that the name of a companion file is a relative path inside the model's folder; see `is_inside`.

    Raises:
        ModelInvalid: it is not.
    """
    if not is_inside(location):
        raise ModelInvalid(
            f"{model} names {location!r:.300} as a file of its weights; only a relative path inside the model's own folder is read"
        )


def is_inside(location: str) -> bool:
    """Return whether this is a relative path, written with `/`, that stays inside its folder on every operating system.

    A `*` is refused too, because ONNX Runtime reads the path `*/_ORT_MEM_ADDR_/*` as an address in its own memory.
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
        """Return key (field 1) and value (field 2) of a StringStringEntryProto. If a field is repeated, its last value counts."""
        texts = {1: "", 2: ""}
        for number, begin, stop in self._fields(start, end, depth):
            texts[number] = self._data[begin:stop].decode("utf-8", errors="replace")
        return texts[1], texts[2]

    def _fields(self, start: int, end: int, depth: int) -> Iterator[tuple[int, int, int]]:
        """Return number, begin and end of each length-delimited field. Other fields are skipped."""
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
                if not groups:  # ONNX has no groups, so a field inside one is unknown
                    yield number, place, place + length
                place += length
            elif wire in (GROUP, END_GROUP):
                groups += 1 if wire == GROUP else -1
                if not 0 <= groups <= MAX_DEPTH:
                    raise _NotProtobuf
            elif wire in (0, 1, 5):  # a number field that `_NUMBERS` does not match, because its tag is longer than one byte
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
