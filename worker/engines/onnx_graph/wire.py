"""Reads the fields of a message in protobuf's wire format, without copying them."""

from __future__ import annotations

from collections.abc import Iterator
from mmap import mmap

Data = bytes | mmap
Span = tuple[int, int]  # begin and end of a length-delimited field

_VARINT, _EIGHT_BYTES, _SPAN, _FOUR_BYTES = 0, 1, 2, 5
ONE_BYTE = 0x80  # a smaller number is its only byte


class NotProtobuf(Exception):
    """Raised when the bytes are not a message of this kind."""


def fields(data: Data, span: Span) -> Iterator[tuple[int, int, Span]]:
    """Yield the field number, the value and the span of each field. A varint has the span (0, 0); any other field has the value 0.

    Raises:
        NotProtobuf: The bytes end too early, or use a wire type that ONNX does not use.
    """
    place, end = span
    while place < end:
        tag = data[place]  # most numbers have one byte, and calling `varint` for these would take half of the time
        place += 1
        if tag >= ONE_BYTE:
            tag, place = varint(data, place - 1, end)
        wire = tag & 7
        if wire == _SPAN:
            if place < end and data[place] < ONE_BYTE:
                length = data[place]
                place += 1
            else:
                length, place = varint(data, place, end)
            begin, place = place, place + length
            if place > end:
                raise NotProtobuf
            yield tag >> 3, 0, (begin, place)
        elif wire == _VARINT:
            value, place = varint(data, place, end)
            yield tag >> 3, value, (0, 0)
        elif wire in (_EIGHT_BYTES, _FOUR_BYTES):
            size = 8 if wire == _EIGHT_BYTES else 4
            yield tag >> 3, 0, (place, place + size)
            place += size
        else:
            raise NotProtobuf
    if place != end:
        raise NotProtobuf


def varint(data: Data, place: int, end: int) -> tuple[int, int]:
    """Return an unsigned number and the position after it."""
    value = shift = 0
    while place < end and shift < 70:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < ONE_BYTE:
            return value, place
        shift += 7
    raise NotProtobuf


def signed(value: int) -> int:
    """Return the int64 that protobuf wrote as an unsigned number."""
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


def packed(data: Data, span: Span) -> list[int]:
    """Return the int64 numbers of a packed field."""
    found, (place, end) = [], span
    while place < end:
        value, place = varint(data, place, end)
        found.append(signed(value))
    return found


def text(data: Data, span: Span) -> str:
    return data[span[0] : span[1]].decode("utf-8", errors="replace")
