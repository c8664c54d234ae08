"""Stores each result as a file on the worker's disk, from before it is sent until the orchestrator has answered.

    <job_id>.<attempt>.json               the Result message
    <job_id>.<attempt>.<artifact>         an artifact too large for the message (`samples.npz`, `log.jsonl`)
    <job_id>.<attempt>.unreadable         a message that this version cannot read, kept with its artifacts for a version that can

A file is either complete or does not exist. A result that is found at the start is sent again, so results survive the process. If
the disk is full, a result is kept in memory until it is answered or the disk has room again.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from pydantic import ValidationError

from shared.ids import AttemptKey
from shared.protocol.messages import Result
from worker.durable import UNFINISHED, link_durably, write_durably

log = logging.getLogger(__name__)

SOON_S = 5.0  # the wait after the first failed try
LATER_S = 60.0  # the longest wait after failed tries: a whole fleet may be waiting for an orchestrator whose disk is full
FIRST_RESEND_S = 30.0  # the wait after a successful try: a working orchestrator answers within a second or two
LAST_RESEND_S = 600.0
ATTACHMENTS = "*.[1-9]*.*.*"  # <job_id>.<attempt>.<name>, and every name has a suffix
MEMORY_BYTES = 64 * 2**20  # the limit for results that do not fit on the disk; a small device has 512 MB of memory


@dataclass
class Entry:
    """Holds a result that waits for its answer. `path` is None while it is held in memory.

    `due` says when to send it again, in monotonic seconds. It is infinite while the task that measured it sends it for the first time.
    """

    result: Result
    path: Path | None
    attachments: dict[str, Path | bytes] = field(default_factory=dict)
    due: float = 0.0
    wait_s: float = FIRST_RESEND_S
    retry_s: float = SOON_S

    @property
    def key(self) -> AttemptKey:
        return self.result.job_id, self.result.attempt

    def sent(self, now: float) -> None:
        """Record that it was sent. It is sent again after 30 s, and each time after twice as long, up to 10 minutes."""
        self.due, self.retry_s = now + self.wait_s, SOON_S
        self.wait_s = min(self.wait_s * 2, LAST_RESEND_S)

    def failed(self, now: float) -> None:
        """Record that it could not be sent. It is tried again after 5 s, and each time after twice as long, up to a minute."""
        self.due = now + self.retry_s
        self.retry_s = min(self.retry_s * 2, LATER_S)

    def hurry(self) -> None:
        """Make it due at once, and start again with short waits.

        This includes a result that is being sent right now, because its connection may be dead. So a message may arrive twice. It does not
        include a result with files that is being sent right now, because two uploads of one file would disturb each other.
        """
        self.wait_s, self.retry_s = FIRST_RESEND_S, SOON_S
        if self.due != math.inf or not self.attachments:
            self.due = 0.0


class Spool:
    """Holds the results that have no answer yet. It can be used from several threads."""

    def __init__(self, folder: Path) -> None:
        """Create the folder if necessary, and load the results in it.

        Raises:
            OSError: The folder cannot be created.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lock = Lock()
        self._entries: dict[AttemptKey, Entry] = {}
        self._read()

    def _read(self) -> None:
        for leftover in self._folder.glob(UNFINISHED):
            leftover.unlink(missing_ok=True)
        for path in sorted(self._folder.glob("*.json")):
            try:
                result = Result.model_validate_json(path.read_bytes())
            except ValidationError as error:
                aside = path.with_suffix(".unreadable")
                path.replace(aside)
                log.error("%s is no result this version can read (%s); kept as %s", path, error.errors()[0]["msg"], aside.name)  # noqa: TRY400 - the cause is in the text
                continue
            except OSError as error:
                log.error("%s cannot be read, and is left where it is: %s", path, error)  # noqa: TRY400 - as above
                continue
            attachments: dict[str, Path | bytes] = {
                name: path.with_suffix(f".{name}") for name, artifact in result.artifacts.items() if artifact.inline is None
            }
            self._entries[result.job_id, result.attempt] = Entry(result, path, attachments)
        messages = {path.stem for kind in ("*.json", "*.unreadable") for path in self._folder.glob(kind)}
        for attachment in self._folder.glob(ATTACHMENTS):
            if attachment.name.rsplit(".", 2)[0] not in messages:  # the process ended before it had written the message
                attachment.unlink(missing_ok=True)

    def keep(self, result: Result, attachments: Mapping[str, bytes | Path]) -> Entry | None:
        """Store a result until it is answered, on disk or else in memory. Returns None if neither has room.

        An attachment that is a file stays where it is, and is not read into memory: the spool gets a second name for it, or a copy.
        """
        try:
            return self.write(result, attachments)
        except OSError as error:
            size = _weight(result, attachments)
            with self._lock:
                held = sum(_weight(entry.result, entry.attachments) for entry in self._entries.values() if entry.path is None)
                if held + size > MEMORY_BYTES:
                    log.error("the result of %s could not be kept, on disk (%s) or in memory: free some space", result.job_id, error)  # noqa: TRY400 - the cause is in the text
                    return None
                entry = Entry(result, None, dict(attachments), due=math.inf)
                self._entries[entry.key] = entry
            log.error(  # noqa: TRY400 - the cause is in the text
                "the result of %s could not be kept on disk (%s): it is held in memory until it is answered, and is lost if this "
                "process ends before; free some space",
                result.job_id,
                error,
            )
            return entry

    def settle(self, entry: Entry) -> Entry:
        """Write a result that is held in memory to the disk, if there is room now. Returns the entry that then holds the result."""
        if entry.path is not None:
            return entry
        try:
            settled = self.write(entry.result, entry.attachments)
        except OSError as error:
            log.debug("%s stays in memory: %s", entry.result.job_id, error)
            return entry
        for content in entry.attachments.values():
            if isinstance(content, Path):
                content.unlink(missing_ok=True)  # the spool has its own name for it now
        settled.due, settled.wait_s, settled.retry_s = entry.due, entry.wait_s, entry.retry_s
        return settled

    def write(self, result: Result, attachments: Mapping[str, bytes | Path]) -> Entry:
        """Write a result to the disk, its attachments first, so that a message on disk always has its files.

        Raises:
            OSError: The disk is full or the folder cannot be written to. Nothing of the result is left on the disk.
        """
        path = self._folder / f"{result.job_id}.{result.attempt}.json"
        paths = {name: path.with_suffix(f".{name}") for name in attachments}
        try:
            for name, content in attachments.items():
                if isinstance(content, Path):
                    link_durably(content, paths[name])
                else:
                    write_durably(paths[name], content)
            write_durably(path, result.model_dump_json().encode())
        except OSError:
            # The message is removed first, because it may be there: its folder may have failed after the rename. If it cannot be removed,
            # its files stay as well.
            for written in (path, *paths.values()):
                written.unlink(missing_ok=True)
            raise
        entry = Entry(result, path, dict(paths), due=math.inf)  # infinite, because the caller sends it first
        with self._lock:
            self._entries[entry.key] = entry
        return entry

    def entries(self) -> list[Entry]:
        with self._lock:
            return list(self._entries.values())

    def keys(self) -> list[AttemptKey]:
        with self._lock:
            return list(self._entries)

    def __contains__(self, key: AttemptKey) -> bool:
        with self._lock:
            return key in self._entries

    def hurry(self) -> None:
        """Make everything due now, because the orchestrator can be reached again."""
        for entry in self.entries():
            entry.hurry()

    def answered(self, key: AttemptKey) -> None:
        """Forget a result that the orchestrator has stored or does not want, and remove its files."""
        with self._lock:
            entry = self._entries.pop(key, None)
        if entry is not None:
            # The message is removed first. Attachments without a message are removed at the next start; the reverse would be a loss.
            if entry.path is not None:
                entry.path.unlink(missing_ok=True)
            for attachment in entry.attachments.values():
                if isinstance(attachment, Path):
                    attachment.unlink(missing_ok=True)


def _weight(result: Result, attachments: Mapping[str, Path | bytes]) -> int:
    """Return roughly how many bytes of memory a result takes."""
    inline = sum(len(artifact.inline) for artifact in result.artifacts.values() if artifact.inline is not None)
    return inline + sum(len(content) for content in attachments.values() if isinstance(content, bytes))
