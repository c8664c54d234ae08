"""Tells the orchestrator what happens to attempts: that they begin, go back or have ended. Results are stored before they are sent."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from shared.clock import Clock
from shared.errors import Unavailable
from shared.ids import AttemptKey
from shared.protocol.messages import Assignment, AttemptLog, HandBack, Result, Started
from worker.job_log import JobLog, Journals
from worker.ports import BrokerPort, OutboxPort
from worker.reports import Author, log_message, packed, result_of
from worker.spool import Entry, Spool

if TYPE_CHECKING:
    from worker.supervisor import Outcome

log = logging.getLogger(__name__)

INLINE_BYTES = 256 * 1024  # larger artifacts are sent by HTTP, so that the broker's memory holds no files
HANDED_BACK = "handed back"


class Mail:
    """Sends what is to be said about attempts. If the orchestrator is away, only results and logs wait for it."""

    def __init__(
        self,
        *,
        author: Author,
        broker: BrokerPort,
        outbox: OutboxPort,
        spool: Spool,
        journals: Journals,
        clock: Clock,
        inline_everything: bool = False,
    ) -> None:
        """Set up the mail.

        Args:
            inline_everything: Send large artifacts inside the message, too, because no orchestrator to upload them to is known.
        """
        self._author, self._broker, self._outbox = author, broker, outbox
        self._spool, self._journals, self._clock = spool, journals, clock
        self._inline_bytes = None if inline_everything else INLINE_BYTES

    def started(self, key: AttemptKey, at: float) -> None:
        self._tell(Started(job_id=key[0], attempt=key[1], at=at, **self._author.speaker()))

    def decline(self, key: AttemptKey, reason: str) -> str:
        """Hand back a job that was taken but not started, and say why it is not run here."""
        job_id, attempt = key
        self._tell(HandBack(job_id=job_id, attempt=attempt, reason=reason, **self._author.speaker()))
        log.info("attempt %d of %s handed back as it came: %s", attempt, job_id, reason)
        return HANDED_BACK

    def hand_back(self, key: AttemptKey, reason: str, job_log: JobLog) -> str:
        """Hand back a job that had begun. The claim is released first, because another worker may claim the job at once."""
        job_id, attempt = key
        try:
            self._broker.release(job_id, attempt)
        except Unavailable as error:
            log.warning("the claim of %s could not be released (%s); the watch will find the job", job_id, error)
        self._tell(HandBack(job_id=job_id, attempt=attempt, reason=reason[:2000], **self._author.speaker()))
        if self._tell(log_message(key, job_log.to_jsonl(), self._author.worker_id)):
            self._journals.done(key)
        else:
            self._journals.leave(key)
        log.info("attempt %d of %s handed back: %s", attempt, job_id, reason)
        return HANDED_BACK

    def packed(
        self, assignment: Assignment, outcome: Outcome | None, failure: str, times: tuple[float, float], job_log: JobLog
    ) -> tuple[Result, dict[str, bytes | Path]]:
        """Create the result and the files that are sent separately.

        If no message can carry the outcome, the result is a failure that says so.
        """
        try:
            files: dict[str, bytes | Path | None] = {
                "samples.npz": outcome.samples_npz if outcome else None,
                "telemetry.npz": outcome.telemetry_npz if outcome else None,
                "log.jsonl": job_log.to_jsonl(),
            }
            artifacts, attachments = packed(files | dict(files_of(outcome)), self._inline_bytes)
            result = result_of(self._author, assignment, outcome, failure, times, artifacts)
            _remove({name: content for name, content in files_of(outcome).items() if name not in attachments})  # it is in the message
            return result, attachments
        except Exception as error:
            log.exception("no result could be made of %s", assignment.job_id)
            _remove(files_of(outcome))
            failure = f"the worker itself failed: no result could be made of what was measured: {type(error).__name__}: {error}"
            return result_of(self._author, assignment, None, failure, times, {}), {}

    def send(self, result: Result, attachments: dict[str, bytes | Path]) -> None:
        """Store a result, then send it. What cannot be sent now is sent again later."""
        entry = self._spool.keep(result, attachments)  # None if it could not be stored; it is sent anyway
        try:
            self._send(result, attachments, entry)
        finally:
            if entry is None or entry.path is not None:  # the spool has its own, or nobody will
                _remove(attachments)

    def _send(self, result: Result, attachments: Mapping[str, bytes | Path], entry: Entry | None) -> None:
        self._journals.done((result.job_id, result.attempt))  # the result contains its log
        kept = "kept, and sent again later" if entry is not None else "LOST; the job will run again"
        try:
            self._outbox.deliver(result, entry.attachments if entry is not None else attachments)
        except Unavailable as error:
            log.warning("the result of %s was not sent (%s): %s", result.job_id, error, kept)
        except Exception:  # a defect, or a file that is gone; a stored entry must still be sent again
            log.exception("the result of %s was not sent: %s", result.job_id, kept)
        else:
            if entry is not None:
                entry.sent(self._clock.monotonic())
            return
        if entry is not None:
            entry.failed(self._clock.monotonic())

    def _tell(self, message: Started | HandBack | AttemptLog) -> bool:
        try:
            self._outbox.tell(message)
        except Unavailable as error:
            # The message is not stored: the orchestrator learns the same from the result, or its watch from the heartbeat.
            log.warning("could not say %s of %s: %s", message.kind, message.job_id, error)
            return False
        return True


def files_of(outcome: Outcome | None) -> Mapping[str, bytes | Path]:
    return outcome.files if outcome is not None else {}


def _remove(files: Mapping[str, bytes | Path]) -> None:
    """Remove those that are files on the disk."""
    for content in files.values():
        if isinstance(content, Path):
            content.unlink(missing_ok=True)
