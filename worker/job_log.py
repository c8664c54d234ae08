"""Keeps the log of an attempt as lines of JSON with a size limit, in memory and in a journal on disk.

    <spool>/<job_id>.<attempt>.journal

Each line is written to the journal at once but not synced: it survives the end of the process, but perhaps not a power cut. After a
worker was killed, its next process sends the journals that are left. Sources: `application` is what the model's process printed,
`system` is about the machine, `benchmark` about the measurement, `infrastructure` about the worker itself.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
from pathlib import Path
from threading import Lock
from typing import Literal

from shared.clock import Clock
from shared.ids import JOB_ID, AttemptKey, campaign_of
from shared.masking import masked

log = logging.getLogger(__name__)

Level = Literal["info", "warning", "error"]
Source = Literal["application", "system", "benchmark", "infrastructure"]
LIMIT_BYTES = 1_000_000  # enough for a thousand repeats of a model that prints a lot; further lines are counted and left out
SUFFIX = ".journal"
HANDED_BACK = "handed back"  # the last line of an attempt that was handed back
DIED = "the worker's process ended in the middle of this attempt"

ATTEMPT = re.compile(r"[1-9][0-9]*")


class JobLog:
    """Holds the log of one attempt. Only one thread may write to it.

    Args:
        worker_id: Empty for a measurement without a worker.
        journal: A file to append to. If the disk is full, the log is kept in memory only, and a crash loses it.
    """

    def __init__(self, key: AttemptKey, clock: Clock, worker_id: str = "", journal: Path | None = None) -> None:
        self._key, self._clock, self._worker_id, self._journal = key, clock, worker_id, journal
        self._lines: list[bytes] = []
        self._size = 0
        self._left_out = 0

    def add(self, level: Level, source: Source, message: str) -> None:
        line = log_line(self._key, self._clock, self._worker_id, level, source, message)
        if self._size + len(line) > LIMIT_BYTES:
            self._left_out += 1
            return
        self._size += len(line)
        self._lines.append(line)
        if self._journal is not None:
            try:
                with self._journal.open("ab") as file:
                    file.write(line)
            except OSError as error:
                log.warning("the log of %s cannot be journalled: %s; it is kept in memory", self._key[0], error)
                self._journal = None

    def to_jsonl(self) -> bytes:
        lines = list(self._lines)
        if self._left_out:
            left_out = f"{self._left_out} more lines were left out"
            lines.append(log_line(self._key, self._clock, self._worker_id, "warning", "infrastructure", left_out))
        return b"".join(lines)


def log_line(key: AttemptKey, clock: Clock, worker_id: str, level: Level, source: Source, message: str) -> bytes:
    fields = {
        "time": clock.now().isoformat(timespec="milliseconds"),
        "level": level,
        "source": source,
        "campaign": campaign_of(key[0]),
        "job": key[0],
        "attempt": key[1],
        "worker": worker_id,
        "message": masked(message),
    }
    return json.dumps(fields, ensure_ascii=False).encode(errors="replace") + b"\n"


class Journals:
    """Manages the journals in a folder: the one of the current attempt, and those of earlier processes. Several threads may use it."""

    def __init__(self, folder: Path, clock: Clock, worker_id: str) -> None:
        self._folder = folder
        self._lock = Lock()
        self._left = {key for path in folder.glob(f"*{SUFFIX}") if (key := _key_of(path)) is not None}
        for key in self._left:
            with contextlib.suppress(OSError), self._path(key).open("rb+") as file:  # if the disk is full, the line is left out
                lines = file.read()
                if _last_message(lines) not in (HANDED_BACK, DIED):
                    cut = b"" if not lines or lines.endswith(b"\n") else b"\n"
                    file.write(cut + log_line(key, clock, worker_id, "error", "infrastructure", DIED))

    def begin(self, key: AttemptKey) -> Path:
        """Begin the journal of an attempt. Returns the path to write it to."""
        self.done(key)
        return self._path(key)

    def leave(self, key: AttemptKey) -> None:
        """Record that an attempt is over and that its log has not been sent."""
        with self._lock:
            self._left.add(key)

    @property
    def waiting(self) -> bool:
        """Return whether there is a log that has not been sent."""
        with self._lock:
            return bool(self._left)

    def left(self) -> dict[AttemptKey, bytes]:
        """Return the unsent logs of attempts that are over. Lines that a crash cut short are left out.

        A log that cannot be read is left for the next process.
        """
        with self._lock:
            left = sorted(self._left)
        found: dict[AttemptKey, bytes] = {}
        for key in left:
            try:
                lines = self._path(key).read_bytes().splitlines(keepends=True)
            except OSError as error:
                log.warning("the log of attempt %d of %s cannot be sent: %s", key[1], key[0], error)
                with self._lock:
                    self._left.discard(key)
            else:
                found[key] = b"".join(line for line in lines if line.startswith(b"{") and line.endswith(b"}\n"))
        return found

    def done(self, key: AttemptKey) -> None:
        """Remove the journal of an attempt, because its log was sent, by itself or with the result."""
        with self._lock:
            self._left.discard(key)
        with contextlib.suppress(OSError):  # on a read-only disk it stays and is sent again at the next start, which does no harm
            self._path(key).unlink()

    def _path(self, key: AttemptKey) -> Path:
        return self._folder / f"{key[0]}.{key[1]}{SUFFIX}"


def _key_of(path: Path) -> AttemptKey | None:
    job_id, _, attempt = path.name.removesuffix(SUFFIX).rpartition(".")
    return (job_id, int(attempt)) if JOB_ID.fullmatch(job_id) and ATTEMPT.fullmatch(attempt) else None


def _last_message(lines: bytes) -> str:
    """Return the message of the last line. Empty if a crash left no complete line."""
    try:
        return str(json.loads(lines.splitlines()[-1])["message"])
    except (ValueError, LookupError, TypeError):
        return ""
