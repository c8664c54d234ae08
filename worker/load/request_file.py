"""Writes the file with the records of all requests of a job (`shared.request_records`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from shared.errors import DeviceFailed
from shared.request_records import RECORD, Header, Part
from worker.load.records import RecordFile
from worker.load.tokens import sections_of

if TYPE_CHECKING:
    from worker.load.phases import Measured


def write_requests(
    target: Path,
    known: Sequence[Mapping[str, Any]],
    repeats: Sequence[Sequence[Measured]],
    service_type: str,
    facts: Mapping[str, Mapping[str, float]] | None = None,
) -> Path:
    """Write the artifact that holds every record of a job, and return its path.

    Args:
        facts: What else is known of each request, by its operation.

    Raises:
        DeviceFailed: The disk is full.
    """
    parts, files = [], []
    for repeat, (one, phases) in enumerate(zip(known, repeats, strict=True)):
        for run, measured in zip(one["runs"], phases, strict=True):
            window = (0, round(measured.window_s() * 1e9))
            for client, path in run["files"].items():
                parts.append(Part(repeat, run["phase"], int(client), run["counts"][client], run["began_at"], window))
                files.append(RecordFile(Path(path), run["counts"][client]))
    sections, more = sections_of(files)
    try:
        with target.open("wb") as file:
            file.write(Header(service_type, tuple(known[0]["operations"]), tuple(parts), sections=sections, more=facts or {}).to_line())
            for each in files:
                with each.path.open("rb") as records:
                    copy_bytes(records, file, each.count * RECORD.size)
            for source, size in more:
                with source() as content:
                    copy_bytes(content, file, size)
    except OSError as error:
        raise DeviceFailed(f"the records of the requests could not be written: {error}; free some space on this device") from error
    return target


def copy_bytes(source: IO[bytes], target: IO[bytes], size: int) -> None:
    """Copy the next bytes of a file in pieces."""
    while size > 0 and (piece := source.read(min(size, 2**20))):
        target.write(piece)
        size -= len(piece)
