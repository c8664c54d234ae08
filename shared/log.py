"""Formats the log of every process: as text for people, or as one JSON object for each line. Neither has secrets or control characters.

All processes write the same JSON, so the lines of one job can be collected from all of them:

    jq 'select(.job_id == "campaign-01jd…-job-3")' orchestrator.log worker.log

The standard library's `logging` does this in one class. A library for JSON logs would be one more package on every small device, and the
masking of secrets and the ids would still be ours.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import IO, Any, Literal

from shared.controls import visible
from shared.ids import CAMPAIGN_ID, JOB_ID, campaign_of
from shared.masking import masked

LogFormat = Literal["auto", "text", "json"]  # `auto` means text on a terminal, and JSON elsewhere
LogSource = Literal["application", "system", "benchmark", "infrastructure"]
FORMAT_HELP = (
    "how log lines are written: `json` (one object for each line), `text`, or `auto`, which is text on a terminal and JSON elsewhere"
)
NO_REQUEST = "-"

# This maps the beginning of a logger's name to what its lines are about; the longest beginning counts. `application` is what a model's
# process prints: only the logs of jobs have such lines (`worker.job_log`).
_SOURCES: dict[str, LogSource] = {
    "": "infrastructure",
    "worker.hardware": "system",
    "worker.rest": "system",
    "worker.engines": "benchmark",
    "worker.runner": "benchmark",
    "worker.supervisor": "benchmark",
    "orchestrator.reports": "benchmark",
}
_WORKER = re.compile(r"\bworker-[0-9a-z]{12}\b")

_Raised = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
_bound: ContextVar[dict[str, str] | None] = ContextVar("bound", default=None)
_of_process: dict[str, str] = {}


class Masked(logging.Formatter):
    """Formats each record as one line of text without secrets. A traceback follows on indented lines.

    So text that a record quotes cannot look like another record, and cannot send control sequences to the terminal.
    """

    def format(self, record: logging.LogRecord) -> str:
        return masked(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        return visible(super().formatMessage(record), keep="\t")

    def formatException(self, ei: _Raised) -> str:  # noqa: N802 (logging's name)
        return _below(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 (logging's name)
        return _below(super().formatStack(stack_info))


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object. Every line has these keys; an id that is not known is null.

    `time` (UTC), `level`, `source`, `logger`, `message`, `campaign_id`, `job_id`, `worker_id`, `request_id`. A line about an exception also
    has `error`, its traceback. Ids come from the record, from `about`, from `of_this_process`, or else from the message: the first job,
    campaign and worker that it names.
    """

    def format(self, record: logging.LogRecord) -> str:
        message = masked(record.getMessage())
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "source": source_of(record.name),
            "logger": record.name,
            "message": message,
            **_ids(record, message),
        }
        if record.exc_info:
            line["error"] = masked(self.formatException(record.exc_info))
        return json.dumps(line)


def source_of(logger: str) -> LogSource:
    """Return what the lines of a logger are about."""
    while logger not in _SOURCES:
        logger = logger.rpartition(".")[0]
    return _SOURCES[logger]


def _ids(record: logging.LogRecord, message: str) -> dict[str, str | None]:
    known = {**_of_process, **(_bound.get() or {})}
    found = {name: getattr(record, name, None) or known.get(name) for name in ("campaign_id", "job_id", "worker_id", "request_id")}
    job = found["job_id"] = found["job_id"] or _first(JOB_ID, message)
    found["campaign_id"] = found["campaign_id"] or (campaign_of(job) if job else _first(CAMPAIGN_ID, message))
    found["worker_id"] = found["worker_id"] or _first(_WORKER, message)
    if found["request_id"] == NO_REQUEST:
        found["request_id"] = None
    return found


def _first(pattern: re.Pattern[str], text: str) -> str | None:
    match = pattern.search(text)
    return match[0] if match is not None else None


@contextmanager
def about(**ids: str) -> Iterator[None]:
    """Add ids (`job_id`, `campaign_id`, `worker_id`) to each JSON line that this thread logs within the `with` block."""
    token = _bound.set({**(_bound.get() or {}), **ids})
    try:
        yield
    finally:
        _bound.reset(token)


def of_this_process(**ids: str) -> None:
    """Add ids to each JSON line of this process from now on."""
    _of_process.update(ids)


def writes_json(form: LogFormat, stream: IO[str]) -> bool:
    """Return whether lines for this stream are JSON."""
    return form == "json" or (form == "auto" and not stream.isatty())


def _below(text: str) -> str:
    return "\n".join("    " + visible(line, keep="\t") for line in text.split("\n"))
