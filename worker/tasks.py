"""Handles one message from a capability queue: reads it, claims its job, reports the start, measures, stores the result, sends it.

This module does not depend on Celery. The agent wraps `JobTask` in the task that Celery calls, and gives it access to the broker.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from shared.clock import Clock
from shared.errors import DeviceFailed, HostBusy, Unavailable
from shared.ids import AttemptKey
from shared.log import about
from shared.masking import masked
from shared.protocol.keys import CLAIM_TTL_S
from shared.protocol.messages import Assignment, AttemptLog, HandBack, Result, Started
from worker.activity import Activity
from worker.assignments import Unreadable, named_by, read_assignment
from worker.job_log import JobLog, Journals
from worker.ports import BrokerPort, OutboxPort, SupervisorPort
from worker.reports import Author, log_message, packed, result_of, unreadable
from worker.rest import Rest
from worker.spool import Spool

if TYPE_CHECKING:
    from worker.supervisor import Outcome

log = logging.getLogger(__name__)

INLINE_BYTES = 256 * 1024  # larger artifacts are sent by HTTP, so that the broker's memory holds no files
CLAIM_RETRY_S = 1.0
CLAIM_WITHIN_S = 600.0  # then the message is dropped, and the orchestrator's watch sends the job again
LEAVING = "the worker is stopping"
DONE = "this worker has run the attempt, and its result was answered"
QUARANTINED = "the device is in quarantine"
UNCLAIMED = "Redis took no claim of this device"
NOT_STARTED = "the worker could not start the job"
RESTING = "the device rests after a failure of its own"
OWN_FAILURES = frozenset({DeviceFailed.kind, HostBusy.kind})  # failures of the device: another device may be able to run the same job
FAILED = "failed"  # the beginning of what is said of a job that failed
SAID = 500  # characters of an error that Flower shows
REMEMBERED = 10_000  # how many finished attempts are remembered, in case one is delivered again


class JobTask:
    """Runs assignments, one at a time."""

    def __init__(
        self,
        *,
        author: Author,
        supervisor: SupervisorPort,
        broker: BrokerPort,
        outbox: OutboxPort,
        spool: Spool,
        journals: Journals,
        activity: Activity,
        clock: Clock,
        inline_everything: bool = False,
        on_pause: Callable[[], None] = lambda: None,
        clock_warning: str = "",
    ) -> None:
        """Set up the task.

        Args:
            clock_warning: What is wrong with this device's clock. It is added to the log of each attempt, whose times are then wrong.
            inline_everything: Send large artifacts inside the message, too, because no orchestrator to upload them to is known.
            on_pause: Called when this device must stop taking messages for a while, because it is in quarantine or rests.
        """
        self.author = author
        self._supervisor, self._broker, self._outbox = supervisor, broker, outbox
        self._spool, self._journals, self._activity, self._clock = spool, journals, activity, clock
        self._inline_bytes = None if inline_everything else INLINE_BYTES
        self._on_pause = on_pause
        self._clock_warning = clock_warning
        self._finished: deque[AttemptKey] = deque(maxlen=REMEMBERED)
        self._rest = Rest(clock)

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Handle one message. The message is never put back into its queue: with the right to do that, a worker could give others any work.

        Returns:
            What happened to the message, in a few words. Flower shows this text. If the job failed, it begins with the word `failed`.
        """
        try:
            assignment = read_assignment(args, kwargs)
        except Unreadable as error:
            self._reject(str(error), [list(args), kwargs])
            named, reason = named_by(args), str(error)
            return "dead letter" if named is None else self._take(named, lambda: self._cannot_read(named, reason))
        return self._take((assignment.job_id, assignment.attempt), lambda: self._run(assignment))

    def hand_back(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Hand back the job of a message that was taken but cannot be started here. A message that names no job becomes a dead letter."""
        if (key := named_by(args)) is not None:
            self._decline(key, LEAVING if self._activity.stopping else NOT_STARTED)
        else:
            self._reject("it names no job, and cannot be started", [list(args), kwargs])

    def _take(self, key: AttemptKey, run: Callable[[], str]) -> str:
        """Run what a message asks for, if this worker may run it and has not run it yet."""
        if key in self._spool:
            return "dropped: already run here"  # it was delivered again because the connection was lost before the acknowledgement
        if key in self._finished:
            return self._decline(key, DONE)  # the orchestrator still waits for this attempt, so it must have lost the result
        if self._activity.stopping:
            return self._decline(key, LEAVING)
        if self.rests:
            self._on_pause()
            return self._decline(key, RESTING)
        with about(job_id=key[0]):
            return self._take_in_turn(key, run)

    def _take_in_turn(self, key: AttemptKey, run: Callable[[], str]) -> str:
        self._activity.begin(key)
        try:
            verdict = self._claim(*key)
            if verdict is None:
                return self._decline(key, LEAVING)
            if verdict == "quarantined":
                self._on_pause()  # first, because otherwise this worker would take the job again at once
                return self._decline(key, QUARANTINED)
            if verdict != "claimed":
                log.info("dropped attempt %d of %s: %s", key[1], key[0], verdict)
                return f"dropped: {verdict}"
            return run()
        finally:
            self._activity.end()

    def _reject(self, reason: str, body: Any) -> None:
        log.error("unreadable assignment, kept as a dead letter: %s", reason)
        try:
            self._broker.dead_letter(reason, json.dumps(body))
        except Unavailable as error:
            log.error("the dead letter could not be kept (%s); it was: %.2000s", error, body)  # noqa: TRY400 - the cause is in the text

    def _cannot_read(self, key: AttemptKey, reason: str) -> str:
        """Report the job as failed. Otherwise the watch would assume that its message was lost and would send it again and again."""
        result = unreadable(self.author, key, reason, self._clock.now().timestamp())
        self._send(result, {})
        self._finished.append(key)
        return _in_words(result)

    def _claim(self, job_id: str, attempt: int) -> str | None:
        """Claim an attempt. Keeps trying for `CLAIM_WITHIN_S` while Redis is away, because only Redis knows who has the job.

        Returns:
            The broker's answer, or `UNCLAIMED` if there was none in time. None if the worker stops first.
        """
        until = self._clock.monotonic() + CLAIM_WITHIN_S
        said = ""
        while True:
            try:
                return self._broker.claim(job_id, attempt, self.author.worker_id, CLAIM_TTL_S)
            except Unavailable as error:
                if error.detail != said:
                    log.warning("attempt %d of %s waits for its claim: %s", attempt, job_id, error.detail)
                said = error.detail
            if self._activity.wait_stopping(CLAIM_RETRY_S):
                return None
            if self._clock.monotonic() >= until:
                return UNCLAIMED

    @property
    def rests(self) -> bool:
        """Return whether this device takes no job for now, because the device itself has just failed."""
        return self._rest.lasts

    def _rest_after(self, result: Result) -> None:
        """Take no job for a while if the device itself failed."""
        if result.status != "failed" or result.error_kind not in OWN_FAILURES:
            self._rest.after_success()
            return
        log.error("%s; no job is taken for %g s", result.error, self._rest.after_failure())
        self._on_pause()

    def _run(self, assignment: Assignment) -> str:
        started_at = self._clock.now().timestamp()
        self._tell(Started(job_id=assignment.job_id, attempt=assignment.attempt, at=started_at, **self.author.speaker()))
        log.info(
            "attempt %d of %s began: %s on %s", assignment.attempt, assignment.job_id, assignment.workload.title, assignment.capability
        )
        key = (assignment.job_id, assignment.attempt)
        job_log = JobLog(key, self._clock, self.author.worker_id, self._journals.begin(key))
        if self._clock_warning:
            job_log.add("warning", "system", self._clock_warning)
        outcome: Outcome | None = None
        failure = ""
        try:
            outcome = self._supervisor.run(assignment, self._activity.stage, job_log)
        except Exception as error:
            log.exception("the supervisor failed in %s", assignment.job_id)
            failure = f"the worker itself failed: {type(error).__name__}: {error}"
            job_log.add("error", "infrastructure", failure)
        if outcome is not None and outcome.status == "handed_back":
            return self._hand_back(assignment, outcome.error or LEAVING, job_log)
        self._activity.clean_up()
        times = (started_at, self._clock.now().timestamp())
        result, attachments = self._packed(assignment, outcome, failure, times, job_log)
        self._rest_after(result)  # before the result is sent, which may cause the job to be sent again
        self._send(result, attachments)
        self._finished.append(key)
        log.info("attempt %d of %s ended: %s%s", result.attempt, result.job_id, result.status, f": {result.error}" if result.error else "")
        return _in_words(result)

    def _packed(
        self, assignment: Assignment, outcome: Outcome | None, failure: str, times: tuple[float, float], job_log: JobLog
    ) -> tuple[Result, dict[str, bytes]]:
        """Create the result and the files that are sent separately.

        If no message can carry the outcome, the result is a failure that says so.
        """
        try:
            files = {
                "samples.npz": outcome.samples_npz if outcome else None,
                "telemetry.npz": outcome.telemetry_npz if outcome else None,
                "log.jsonl": job_log.to_jsonl(),
            }
            artifacts, attachments = packed(files | dict(outcome.files if outcome else {}), self._inline_bytes)
            return result_of(self.author, assignment, outcome, failure, times, artifacts), attachments
        except Exception as error:
            log.exception("no result could be made of %s", assignment.job_id)
            failure = f"the worker itself failed: no result could be made of what was measured: {type(error).__name__}: {error}"
            return result_of(self.author, assignment, None, failure, times, {}), {}

    def _decline(self, key: AttemptKey, reason: str) -> str:
        """Hand back a job that was taken but not started, and say why it is not run here."""
        job_id, attempt = key
        self._tell(HandBack(job_id=job_id, attempt=attempt, reason=reason, **self.author.speaker()))
        log.info("attempt %d of %s handed back as it came: %s", attempt, job_id, reason)
        return "handed back"

    def _hand_back(self, assignment: Assignment, reason: str, job_log: JobLog) -> str:
        """Hand back a job that had begun. The claim is released first, because another worker may claim the job at once."""
        try:
            self._broker.release(assignment.job_id, assignment.attempt)
        except Unavailable as error:
            log.warning("the claim of %s could not be released (%s); the watch will find the job", assignment.job_id, error)
        self._tell(HandBack(job_id=assignment.job_id, attempt=assignment.attempt, reason=reason[:2000], **self.author.speaker()))
        key = (assignment.job_id, assignment.attempt)
        if self._tell(log_message(key, job_log.to_jsonl(), self.author.worker_id)):
            self._journals.done(key)
        else:
            self._journals.leave(key)
        log.info("attempt %d of %s handed back: %s", assignment.attempt, assignment.job_id, reason)
        return "handed back"

    def _tell(self, message: Started | HandBack | AttemptLog) -> bool:
        try:
            self._outbox.tell(message)
        except Unavailable as error:
            # The message is not stored: the orchestrator learns the same from the result, or its watch from the heartbeat.
            log.warning("could not say %s of %s: %s", message.kind, message.job_id, error)
            return False
        return True

    def _send(self, result: Result, attachments: dict[str, bytes]) -> None:
        entry = self._spool.keep(result, attachments)  # None if it could not be stored; it is sent anyway
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


def _in_words(result: Result) -> str:
    return f"{FAILED}: {masked(result.error)[:SAID]}" if result.status == FAILED and result.error else result.status
