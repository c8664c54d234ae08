"""Defines the file `requests.bin`: one record of fixed size for each request that was sent to a service under load.

The file is one line of JSON, which `Header` describes, and then the records, part by part. A part holds the requests of one client process
in one phase of one repeat, in the order in which they ended. The header says how many records each part has.

    bytes  type     what
    0      int64    `scheduled`: when the request was due, in nanoseconds since its phase began (negative: it belongs to the warm-up)
    8      float32  `delay`: nanoseconds from `scheduled` to the moment when the request was sent
    12     float32  `first`: nanoseconds from sending to the first byte of the answer; NaN if there was none, or if the driver cannot see it
    16     float32  `last`: nanoseconds from sending to the last byte of the answer, or until the request had failed
    20     uint32   `bytes`: the bytes of the request and of its answer, as far as the driver sees them
    24     uint16   `status`: the status of HTTP, and 0 for other protocols
    26     uint8    `operation`: its place in `operations` of the header
    27     uint8    `failure`: its place in `FAILURES`; 0 is success

A float32 holds a duration to 6 parts in 10^8, and durations below 16.7 ms exactly. So 10^7 requests take 280 MB. All numbers are
little-endian.

After all records, there may be sections with more about the same requests, one after the other (`shared.token_records`). The header says
how many bytes each of them has for each part. A reader that knows no sections never reads that far.

History of `FORMAT`: 1 is the first.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMAT = 1
NAME = "requests.bin"  # of the artifact
RECORD = struct.Struct("<qfffIHBB")
FIELDS = ("scheduled", "delay", "first", "last", "bytes", "status", "operation", "failure")
_TYPES = ("<i8", "<f4", "<f4", "<f4", "<u4", "<u2", "u1", "u1")
MOST_BYTES = 2**32 - 1  # of one request; more are recorded as this many
MAX_HEADER_BYTES = 1_000_000

# What became of a request. The order never changes, because records hold the place of a name; new names go to the end.
FAILURES = (
    "",  # success
    "not connected",  # no connection could be opened
    "closed",  # the connection ended before the whole answer had arrived
    "timeout",
    "too many requests",  # HTTP 429
    "status",  # an HTTP status of 400 or more, but not 429
    "error",  # the service answered with an error, in whatever way its protocol has
    "wrong answer",  # the answer is not what was asked for, or cannot be parsed
    "open",  # not answered yet when the measurement ended
)
SUCCESS, NOT_CONNECTED, CLOSED, TIMEOUT, TOO_MANY, STATUS, ERROR, WRONG, OPEN = range(len(FAILURES))


@dataclass(frozen=True)
class Part:
    """Says whose the next records of the file are.

    Attributes:
        repeat: the index of the repeat.
        phase: the name of the phase.
        client: the index of the client process.
        count: the number of records.
        began_at: when the phase began, in seconds since 1970: `scheduled` counts from there.
        window_ns: the begin and the end of the measured window, in nanoseconds since the phase began. What ended before is warm-up, and
            what ended later is drain.
    """

    repeat: int
    phase: str
    client: int
    count: int
    began_at: float
    window_ns: tuple[int, int]


@dataclass(frozen=True)
class Section:
    """Describes bytes that follow the records.

    Attributes:
        sizes: how many of them belong to each part, in the order of the parts.
    """

    name: str
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Header:
    """Describes the records of a file.

    Attributes:
        more: What else is known of each request of an operation, by the name of the operation, such as how many vectors an insert has.
    """

    service_type: str
    operations: tuple[str, ...]
    parts: tuple[Part, ...]
    format: int = FORMAT
    sections: tuple[Section, ...] = ()
    more: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def to_line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Header:
        """Return the header that a line of JSON holds.

        Raises:
            ValueError: it is no header, or one of a later format.
        """
        content: Any = json.loads(line)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"{NAME} is of format {FORMAT} in this version, and this file begins with {line[:80]!r}")
        try:
            parts = tuple(Part(**{**part, "window_ns": tuple(part["window_ns"])}) for part in content["parts"])
            sections = tuple(Section(str(one["name"]), tuple(map(int, one["sizes"]))) for one in content.get("sections", ()))
            if any(len(section.sizes) != len(parts) for section in sections):
                raise ValueError(f"{NAME} has a section whose sizes are not those of its {len(parts)} parts")
            more = {str(name): {str(key): float(one) for key, one in values.items()} for name, values in content.get("more", {}).items()}
            operations = tuple(map(str, content["operations"]))
            return cls(str(content["service_type"]), operations, parts, sections=sections, more=more)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{NAME} has a header that cannot be read: {error}") from error


def record_type() -> np.dtype[np.void]:
    """Return the type of a record for numpy."""
    import numpy as np  # imported here: client processes write records without it

    return np.dtype(list(zip(FIELDS, _TYPES, strict=True)))


def read_header(file: BinaryIO) -> Header:
    """Read the first line of an open file; its records follow.

    Raises:
        ValueError: it is not such a file.
    """
    line = file.readline(MAX_HEADER_BYTES)
    if not line.endswith(b"\n"):
        raise ValueError(f"{NAME} has no header line")
    return Header.from_line(line)


def read_parts(path: Path, most_at_once: int = 100_000) -> Iterator[tuple[Header, Part, NDArray[np.void]]]:
    """Yield the records of a file in blocks, so that 10^7 of them need little memory.

    Raises:
        ValueError: it is not such a file, or it ends too early.
    """
    import numpy as np  # imported here: client processes write records without it

    kind = record_type()
    with path.open("rb") as file:
        header = read_header(file)
        for part in header.parts:
            left = part.count
            while left:
                count = min(left, most_at_once)
                data = file.read(count * RECORD.size)
                if len(data) < count * RECORD.size:
                    raise ValueError(f"{NAME} ends in the middle of repeat {part.repeat}, client {part.client}")
                yield header, part, np.frombuffer(data, kind)
                left -= count


def open_section(path: Path, name: str) -> BinaryIO | None:
    """Open a file at the first byte of a section, or return None if it has no such section.

    Raises:
        ValueError: it is not such a file.
    """
    file = path.open("rb")
    try:
        header = read_header(file)
        place = file.tell() + RECORD.size * sum(part.count for part in header.parts)
        for section in header.sections:
            if section.name == name:
                file.seek(place)
                return file
            place += sum(section.sizes)
    except BaseException:
        file.close()
        raise
    file.close()
    return None


def join(header: Header, records: Iterable[bytes]) -> bytes:
    """Return the content of a file. The bytes of its sections follow those of its records."""
    return b"".join([header.to_line(), *records])
