"""Cuts a streamed body into its frames: the events of SSE (https://html.spec.whatwg.org/#event-stream-interpretation), or lines of JSON.

A frame has the time stamp of the read that brought its last byte: several frames of one read have one stamp, and a frame that came in two
halves has that of the second.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")  # ends an event
LINE_END = re.compile(rb"\r\n|\n")


@dataclass(frozen=True)
class Frame:
    """Holds one frame.

    Attributes:
        at: When its last byte arrived.
        whole: Whether its end has arrived. Only the last frame of a body may lack it.
    """

    data: bytes
    at: int
    whole: bool = True


def frames_of(body: bytes, arrived: Sequence[int], end: re.Pattern[bytes]) -> Iterator[Frame]:
    """Yield the frames of a body.

    Args:
        arrived: For each piece of the body, when it arrived and how many bytes it has, in turns.
    """
    place = piece = 0
    known = arrived[1] if arrived else 0  # bytes that had arrived with this piece
    for match in end.finditer(body):
        while known < match.end():
            piece += 2
            known += arrived[piece + 1]
        yield Frame(body[place : match.start()], arrived[piece])
        place = match.end()
    if body[place:].strip():
        yield Frame(body[place:], arrived[-2], whole=False)


def event_of(frame: bytes) -> tuple[str, bytes]:
    """Return the name and the data of an event of SSE. An event that only holds comments has no data."""
    if frame.startswith(b"data: ") and b"\n" not in frame and b"\r" not in frame:
        return "", frame[6:]
    name, data = "", []
    for line in frame.splitlines():
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value.decode(errors="replace")
    return name, b"\n".join(data)
