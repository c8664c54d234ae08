"""Writes and reads the file in which a measured process hands back its record.

It is one line of JSON, then the values of each series as native 64-bit integers, in the order in which the line names the series. The
same interpreter on the same machine writes and reads it, so the file does not state its byte order.

A record counts only if its process has ended with the exit code 0: before that, it may be written in part.
"""

from __future__ import annotations

import json
from array import array
from dataclasses import asdict
from pathlib import Path

from shared.series import Phase, Record, Series

NO_ROOM = 74  # EX_IOERR of sysexits.h


class Unwritten(Exception):
    """Raised when a record could not be written. The process then reports this with the exit code `NO_ROOM`, its only way left."""


def write_record(path: Path, record: Record) -> None:
    """Write a record. If that fails, nothing of it is left.

    Raises:
        Unwritten: The disk is full, or the folder does not exist.
    """
    head = {
        "phases": [asdict(phase) for phase in record.phases.values()],
        "series": [{"name": one.name, "unit": one.unit, "count": len(one.values)} for one in record.series.values()],
        "facts": record.facts,
        "error_kind": record.error_kind,
        "error": record.error,
    }
    try:
        with path.open("wb") as file:
            file.write(json.dumps(head).encode() + b"\n")
            for one in record.series.values():
                file.write(one.values.tobytes())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise Unwritten(str(error)) from error


def read_record(path: Path, exit_code: int | None) -> Record | None:
    """Return the record that a process wrote. None if it wrote none, or died before all of it was written.

    Args:
        exit_code: That of the process; None if a signal ended it.
    """
    if exit_code != 0 or not path.exists():
        return None
    series: dict[str, Series] = {}
    with path.open("rb") as file:
        head = json.loads(file.readline())
        for one in head["series"]:
            values = array("q")
            values.frombytes(file.read(8 * one["count"]))
            series[one["name"]] = Series(one["name"], one["unit"], values)
    phases = {phase["name"]: Phase(**phase) for phase in head["phases"]}
    return Record(phases, series, head["facts"], head["error_kind"], head["error"])
