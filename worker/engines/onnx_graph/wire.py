"""Protobuf's wire format: the fields of a message, read in place."""

from __future__ import annotations

from collections.abc import Iterator
from mmap import mmap

Data = bytes | mmap
Span = tuple[int, int]  # begin and end of a length-delimited field

_VARINT, _EIGHT_BYTES, _SPAN, _FOUR_BYTES = 0, 1, 2, 5


class NotProtobuf(Exception):
    """The bytes are no message of this kind."""


def fields(data: Data, span: Span) -> Iterator[tuple[int, int, Span]]:
    """Number, value and span of each field of a message. A number has an empty span; of other fields the value is 0.

    Raises:
        NotProtobuf: the bytes end too early, or use a wire type that ONNX does not use.
    """
    place, end = span
    while place < end:
        tag, place = varint(data, place, end)
        wire = tag & 7
        if wire == _VARINT:
            value, place = varint(data, place, end)
            yield tag >> 3, value, (0, 0)
        elif wire == _SPAN:
            length, place = varint(data, place, end)
            if place + length > end:
                raise NotProtobuf
            yield tag >> 3, 0, (place, place + length)
            place += length
        elif wire in (_EIGHT_BYTES, _FOUR_BYTES):
            size = 8 if wire == _EIGHT_BYTES else 4
            yield tag >> 3, 0, (place, place + size)
            place += size
        else:
            raise NotProtobuf
    if place != end:
        raise NotProtobuf


def varint(data: Data, place: int, end: int) -> tuple[int, int]:
    """An unsigned number and the place behind it."""
    value = shift = 0
    while place < end and shift < 70:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
    raise NotProtobuf


def signed(value: int) -> int:
    """The int64 that protobuf wrote as an unsigned number."""
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


def packed(data: Data, span: Span) -> list[int]:
    """The int64 numbers of a packed field."""
    found, (place, end) = [], span
    while place < end:
        value, place = varint(data, place, end)
        found.append(signed(value))
    return found


def text(data: Data, span: Span) -> str:
    return bytes(data[span[0] : span[1]]).decode("utf-8", errors="replace")
