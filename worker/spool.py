"""Results on their way: one file each on the worker's disk, from before it is sent until the orchestrator has answered.

    <job_id>.<attempt>.json               the Result message
    <job_id>.<attempt>.<artifact>         an artifact too large to travel inside it (`samples.npz`, `log.jsonl`)

A file is whole or not there. What is found at start is sent again: that is how a result outlives the process.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from pydantic import ValidationError

from shared.protocol.messages import Result
from worker.durable import write_durably

log = logging.getLogger(__name__)

FIRST_RESEND_S = 30.0  # an orchestrator that lives answers within a second or two
LAST_RESEND_S = 600.0

Key = tuple[str, int]  # job id, attempt


@dataclass
class Entry:
    """One result waiting for its answer. `due` is in monotonic seconds, when it is sent again."""

    result: Result
    path: Path
    attachments: dict[str, Path] = field(default_factory=dict)
    due: float = 0.0
    wait_s: float = FIRST_RESEND_S

    @property
    def key(self) -> Key:
        return self.result.job_id, self.result.attempt

    def sent(self, now: float) -> None:
        """Put the next sending off: 30 s, then twice as long each time, up to 10 minutes."""
        self.due = now + self.wait_s
        self.wait_s = min(self.wait_s * 2, LAST_RESEND_S)

    def hurry(self) -> None:
        """Send again at once, and start over with the waiting."""
        self.due, self.wait_s = 0.0, FIRST_RESEND_S


class Spool:
    """The results that no one has answered yet. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            OSError: the folder cannot be made.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lock = Lock()
        self._entries: dict[Key, Entry] = {}
        self._read()

    def _read(self) -> None:
        for leftover in self._folder.glob(".*.part"):
            leftover.unlink(missing_ok=True)
        for path in sorted(self._folder.glob("*.json")):
            try:
                result = Result.model_validate_json(path.read_bytes())
            except ValidationError as error:
                aside = path.with_suffix(".unreadable")
                path.replace(aside)
                log.error("%s is no result this version can read (%s); kept as %s", path, error.errors()[0]["msg"], aside.name)  # noqa: TRY400 - the cause is in the text
                continue
            attachments = {name: path.with_suffix(f".{name}") for name, artifact in result.artifacts.items() if artifact.inline is None}
            self._entries[result.job_id, result.attempt] = Entry(result, path, attachments)
        kept = {path for entry in self._entries.values() for path in entry.attachments.values()}
        for litter in set(self._folder.glob("*.samples.npz")) | set(self._folder.glob("*.log.jsonl")):
            if litter not in kept:  # the process died between an attachment and its message
                litter.unlink(missing_ok=True)

    def write(self, result: Result, attachments: dict[str, bytes]) -> Entry:
        """Keep a result until it is answered; attachments first, so that a message on disk never lacks its files.

        Raises:
            OSError: the disk is full or the folder not writable; nothing of this result is left on it.
        """
        path = self._folder / f"{result.job_id}.{result.attempt}.json"
        paths = {name: path.with_suffix(f".{name}") for name in attachments}
        try:
            for name, content in attachments.items():
                write_durably(paths[name], content)
            write_durably(path, result.model_dump_json().encode())
        except OSError:
            for written in paths.values():
                written.unlink(missing_ok=True)
            raise
        entry = Entry(result, path, paths, due=math.inf)  # the writer sends it first, and says when
        with self._lock:
            self._entries[entry.key] = entry
        return entry

    def entries(self) -> list[Entry]:
        with self._lock:
            return list(self._entries.values())

    def keys(self) -> list[Key]:
        with self._lock:
            return list(self._entries)

    def __contains__(self, key: Key) -> bool:
        with self._lock:
            return key in self._entries

    def hurry(self) -> None:
        """Everything is due now: the way to the orchestrator is open again."""
        for entry in self.entries():
            entry.hurry()

    def answered(self, key: Key) -> None:
        """The orchestrator has it, or wants none of it: the files go."""
        with self._lock:
            entry = self._entries.pop(key, None)
        if entry is not None:
            # The message first: attachments without a message are litter, a message without its attachments a loss.
            entry.path.unlink(missing_ok=True)
            for attachment in entry.attachments.values():
                attachment.unlink(missing_ok=True)
