"""The log of one attempt: lines of JSON, bounded."""

from __future__ import annotations

import json
from typing import Literal

from shared.clock import Clock
from shared.masking import masked
from shared.protocol.messages import Assignment

Level = Literal["info", "warning", "error"]
Source = Literal["application", "system", "benchmark", "infrastructure"]
LIMIT_BYTES = 1_000_000  # a thousand repeats of a talkative model; what comes after is counted and left out


class JobLog:
    """Sources: `application` is what the model's process printed, `system` the machine, `benchmark` the measurement,
    `infrastructure` the worker itself."""

    def __init__(self, assignment: Assignment, clock: Clock) -> None:
        self._clock = clock
        self._job, self._attempt = assignment.job_id, assignment.attempt
        self._lines: list[bytes] = []
        self._size = 0
        self._left_out = 0

    def add(self, level: Level, source: Source, message: str) -> None:
        line = self._line(level, source, message)
        if self._size + len(line) > LIMIT_BYTES:
            self._left_out += 1
            return
        self._size += len(line)
        self._lines.append(line)

    def to_jsonl(self) -> bytes:
        lines = list(self._lines)
        if self._left_out:
            lines.append(self._line("warning", "infrastructure", f"{self._left_out} more lines were left out"))
        return b"".join(lines)

    def _line(self, level: Level, source: Source, message: str) -> bytes:
        fields = {
            "time": self._clock.now().isoformat(timespec="milliseconds"),
            "level": level,
            "source": source,
            "job": self._job,
            "attempt": self._attempt,
            "message": masked(message),
        }
        return json.dumps(fields, ensure_ascii=False).encode() + b"\n"
