"""Defines the request to a measured process, and the record that the process writes.

A record is one file: one line of JSON, then the raw samples as native 64-bit integers, first the warm-ups, then the inferences.
The same interpreter on the same machine writes and reads it, so the file does not state its byte order.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

NO_ROOM = 74  # EX_IOERR of sysexits.h


@dataclass(frozen=True)
class RunRequest:
    """Says what one fresh process must do: load the model and then, unless `load_only` is set, warm up and measure."""

    capability: str
    model_path: str
    record_path: str
    options: dict[str, Any]
    inferences: int
    warmup_min_calls: int
    warmup_min_s: float
    warmup_max_s: float
    load_only: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Record:
    """Holds what one measured process recorded. `error_kind` is empty if there was no error."""

    load_ns: int = 0
    warmup_ns: array[int] = field(default_factory=lambda: array("q"))  # 8 bytes for each sample; a list of integers needs 40
    inference_ns: array[int] = field(default_factory=lambda: array("q"))
    inference_wall_ns: int = 0
    load_peak_mb: float | None = None
    inference_peak_mb: float | None = None
    baseline_mb: float | None = None
    memory_method: str = ""
    cpu_percent: float | None = None
    process_cpu_s: float = 0.0  # CPU seconds of this process since its start
    runtime: dict[str, Any] = field(default_factory=dict)
    software: dict[str, str] = field(default_factory=dict)
    error_kind: str = ""
    error: str = ""


class Unwritten(Exception):
    """Raised when a record could not be written. The process then reports this with the exit code `NO_ROOM`, its only way left."""


def write_record(path: Path, facts: dict[str, Any], warmup_ns: Sequence[int] = (), inference_ns: Sequence[int] = ()) -> None:
    """Write a record completely or not at all: to a temporary file that is then renamed.

    Raises:
        Unwritten: The disk is full, or the folder does not exist.
    """
    head = {**facts, "warmups": len(warmup_ns), "inferences": len(inference_ns)}
    temporary = path.with_suffix(".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(json.dumps(head).encode() + b"\n")
            for samples in (warmup_ns, inference_ns):
                file.write((samples if isinstance(samples, array) else array("q", samples)).tobytes())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise Unwritten(str(error)) from error


def read_record(path: Path) -> Record | None:
    """Return the record that a process wrote, or None when the process died before it wrote one."""
    if not path.exists():
        return None
    with path.open("rb") as file:
        head = json.loads(file.readline())
        warmups, inferences = array("q"), array("q")
        warmups.frombytes(file.read(8 * head.pop("warmups")))
        inferences.frombytes(file.read(8 * head.pop("inferences")))
    return Record(warmup_ns=warmups, inference_ns=inferences, **head)
