"""Writes `requests.jsonl`: one line for each request of a campaign, from the binary records that the workers sent."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.reports.joined_files import join_files
from orchestrator.reports.load.written import Written
from shared.request_records import FAILURES, Header, Part, read_parts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FOLDER = "requests"
NAME = "requests.jsonl"
LINES_AT_ONCE = 20_000  # so that the memory does not grow with the number of requests


def write_requests(folder: Path) -> Path | None:
    """Write the file into the folder of a campaign, and return its path. Return None if no job sent records.

    A file of records that cannot be read is left out, and the log says so.

    Raises:
        OSError: the folder cannot be written.
    """
    return join_files((folder / FOLDER).glob("*.bin"), folder / NAME, _lines_of, "requests")


def _lines_of(path: Path) -> Iterator[bytes]:
    with Written(path) as written:
        for header, part, records in read_parts(path, LINES_AT_ONCE):
            yield "".join(_lines(path.stem, header, part, records, written.next(records))).encode()


def _lines(job_id: str, header: Header, part: Part, records: NDArray[np.void], written: Iterator[str]) -> Iterator[str]:
    """Yield the line of each request. Times that are not known, such as those of a request that was never sent, are null."""
    service, scenario, job = json.dumps(header.service_type), json.dumps(part.phase), json.dumps(job_id)
    operations = [json.dumps(name) for name in header.operations]
    known = [_more(header.more.get(name, {})) for name in header.operations]
    failures = [json.dumps(name) for name in FAILURES]
    scheduled = records["scheduled"] / 1e9
    sent = scheduled + records["delay"] / 1e9
    took = records["last"] / 1e9
    columns = (scheduled, sent, took, records["first"] / 1e9, records["status"], records["operation"], records["failure"])
    same = f'"service_type": {service}, "job_id": {job}, "repeat": {part.repeat}, "client": {part.client}, "scenario": {scenario}'
    each = zip(*(column.tolist() for column in columns), written, strict=True)
    for due, begin, lasted, first, status, operation, failure, tokens in each:
        ended = begin == begin and lasted == lasted  # not NaN
        start = f"{part.began_at + begin:.9f}" if begin == begin else "null"
        end = f"{part.began_at + begin + lasted:.9f}" if ended else "null"
        more = f', "ttfb_s": {first:.9f}' if math.isfinite(first) else ""
        more += f', "http_status": {status}' if status else ""
        more += known[operation] if operation < len(known) else ""
        more += f', "error": {failures[failure] if failure < len(failures) else json.dumps("unknown")}' if failure else ""
        kind = operations[operation] if operation < len(operations) else "null"
        yield (
            f'{{"timestamp_start": {start}, "timestamp_end": {end}, "latency_s": {f"{lasted:.9f}" if ended else "null"}, '
            f'"success": {"false" if failure else "true"}, {same}, "warmup": {"true" if due < 0 else "false"}, '
            f'"scheduled_s": {due:.9f}, "operation_type": {kind}{more}{tokens}}}\n'
        )


def _more(facts: Mapping[str, float]) -> str:
    """Return facts as the rest of a line. Whole numbers have no point."""
    return "".join(f", {json.dumps(name)}: {json.dumps(int(value) if value == int(value) else value)}" for name, value in facts.items())
