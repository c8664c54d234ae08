"""One message from a capability queue, all the way: read, claim, say so, measure, keep, send.

Celery is not known here. The agent wraps `JobTask` in the task that Celery calls, and gives it its ways to the broker.
"""

from __future__ import annotations

import json
import logging
import math
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from shared.clock import Clock
from shared.errors import DeviceFailed, HostBusy, Unavailable
from shared.ids import AttemptKey
from shared.protocol.keys import CLAIM_TTL_S
from shared.protocol.messages import Assignment, AttemptLog, HandBack, Result, Started
from worker.activity import Activity
from worker.assignments import Unreadable, named_by, read_assignment
from worker.job_log import JobLog, Journals
from worker.reports import Author, log_message, packed, result_of, unreadable
from worker.spool import Spool

if TYPE_CHECKING:
    from worker.supervisor import Outcome

log = logging.getLogger(__name__)

INLINE_BYTES = 256 * 1024  # larger artifacts go by HTTP, so that the broker's memory holds messages, not files
CLAIM_RETRY_S = 1.0
LEAVING = "the worker is stopping"
DONE = "this worker has run the attempt, and its result was answered"
QUARANTINED = "the device is in quarantine"
UNCLAIMED = "Redis took no claim of this device"
NOT_STARTED = "the worker could not start the job"
RESTING = "the device rests after a failure of its own"
OWN_FAILURES = frozenset({DeviceFailed.kind, HostBusy.kind})  # of the device, whatever the job: another one may run it
REST_S = 10.0  # so that the next attempt, a second or two later, finds somebody else
LONGEST_REST_S = 600.0
CLAIM_PATIENCE_S = 600.0  # with a Redis that takes no claim; the watch sends the job again
REMEMBERED = 10_000  # attempts this process has finished, should one be delivered again


class SupervisorPort(Protocol):
    """The part of `worker.supervisor.Supervisor` that a task needs."""

    def run(self, assignment: Assignment, on_stage: Callable[[str, float | None], None], job_log: JobLog | None = None) -> Outcome: ...

    def stop(self, job_id: str, attempt: int, why: Literal["cancelled", "handed_back"]) -> None: ...


class BrokerPort(Protocol):
    """Claims and dead letters. Every method raises `Unavailable` while Redis is away."""

    def claim(self, job_id: str, attempt: int, worker_id: str, ttl_s: int) -> str:
        """`claimed`, `cancelled`, `superseded`, `held` or `quarantined`."""

    def release(self, job_id: str, attempt: int) -> None: ...

    def dead_letter(self, reason: str, message: str) -> None: ...


class OutboxPort(Protocol):
    """The way to the orchestrator."""

    def tell(self, message: Started | HandBack | AttemptLog) -> None:
        """Send, at most once.

        Raises:
            Unavailable: it was not sent.
        """

    def deliver(self, result: Result, attachments: Mapping[str, Path | bytes]) -> None:
        """Send the large artifacts, then the message.

        Raises:
            Unavailable: not everything was sent.
        """


class JobTask:
    """Runs assignments, one after the other."""

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
        """
        Args:
            clock_warning: what is wrong with this device's clock; it stands in the log of each attempt, whose times it spoils.
            on_pause: this device may claim nothing for a while, or `rests`: nor is it to take the next message.
            inline_everything: no orchestrator is known to upload to, so large artifacts travel inside the message too.
        """
        self.author = author
        self._supervisor, self._broker, self._outbox = supervisor, broker, outbox
        self._spool, self._journals, self._activity, self._clock = spool, journals, activity, clock
        self._inline_bytes = None if inline_everything else INLINE_BYTES
        self._on_pause = on_pause
        self._clock_warning = clock_warning
        self._finished: deque[AttemptKey] = deque(maxlen=REMEMBERED)
        self._rests_until, self._rest_s = -math.inf, REST_S

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Handle one message. It is never put back: whoever could do so could give other workers any work.

        Returns:
            What became of it, in a few words, for a person who looks at the task.
        """
        try:
            assignment = read_assignment(args, kwargs)
        except Unreadable as error:
            self._reject(str(error), [list(args), kwargs])
            named, reason = named_by(args), str(error)
            return "dead letter" if named is None else self._take(named, lambda: self._cannot_read(named, reason))
        return self._take((assignment.job_id, assignment.attempt), lambda: self._run(assignment))

    def hand_back(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Hand back the job of a message that was taken and cannot be started here. A message without a job is kept as a dead letter."""
        if (key := named_by(args)) is not None:
            self._decline(key, LEAVING if self._activity.stopping else NOT_STARTED)
        else:
            self._reject("it names no job, and cannot be started", [list(args), kwargs])

    def _take(self, key: AttemptKey, run: Callable[[], str]) -> str:
        """Run what a message asks for, if it is ours to run and not done yet."""
        if key in self._spool:
            return "dropped: already run here"  # delivered again after the connection was lost before the acknowledgement
        if key in self._finished:
            return self._decline(key, DONE)  # nobody minds, unless the orchestrator lost what we told it, and waits for this attempt
        if self._activity.stopping:
            return self._decline(key, LEAVING)
        if self.rests:
            self._on_pause()
            return self._decline(key, RESTING)
        self._activity.begin(key)
        try:
            verdict = self._claim(*key)
            if verdict is None:
                return self._decline(key, LEAVING)
            if verdict == "quarantined":
                self._on_pause()  # before the job is given out again, or this worker would take it at once
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
        """End the job: a message that stays unread is sent again and again, by a watch that takes it for lost."""
        result = unreadable(self.author, key, reason, self._clock.now().timestamp())
        self._send(result, {})
        self._finished.append(key)
        return result.status

    def _claim(self, job_id: str, attempt: int) -> str | None:
        """Claim, waiting while Redis is away: who else may have the job is not known before.

        Not for ever: the watch sends again what is dropped here, until the job's time in the queues is over.

        Returns:
            What the broker says, or `UNCLAIMED`; None when we leave first.
        """
        until = self._clock.monotonic() + CLAIM_PATIENCE_S
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
        """Whether this device failed a moment ago, whatever the job: others are to have the first pick."""
        return self._clock.monotonic() < self._rests_until

    def _rest_after(self, result: Result) -> None:
        """After a failure of the device's own take nothing for a while, each further time twice as long: it drains no campaign."""
        if result.status != "failed" or result.error_kind not in OWN_FAILURES:
            self._rest_s = REST_S
            return
        log.error("%s; no job is taken for %g s", result.error, self._rest_s)
        self._rests_until = self._clock.monotonic() + self._rest_s
        self._rest_s = min(self._rest_s * 2, LONGEST_REST_S)
        self._on_pause()

    def _run(self, assignment: Assignment) -> str:
        started_at = self._clock.now().timestamp()
        self._tell(Started(job_id=assignment.job_id, attempt=assignment.attempt, at=started_at, **self.author.speaker()))
        log.info(
            "attempt %d of %s began: %s on %s", assignment.attempt, assignment.job_id, assignment.workload.model.name, assignment.capability
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
        self._rest_after(result)  # before the job is given out again
        self._send(result, attachments)
        self._finished.append(key)
        log.info("attempt %d of %s ended: %s%s", result.attempt, result.job_id, result.status, f": {result.error}" if result.error else "")
        return result.status

    def _packed(
        self, assignment: Assignment, outcome: Outcome | None, failure: str, times: tuple[float, float], job_log: JobLog
    ) -> tuple[Result, dict[str, bytes]]:
        """The result and what travels beside it; of an outcome that no message can carry, the failure that says so."""
        try:
            files = {"samples.npz": outcome.samples_npz if outcome else None, "log.jsonl": job_log.to_jsonl()}
            artifacts, attachments = packed(files, self._inline_bytes)
            return result_of(self.author, assignment, outcome, failure, times, artifacts), attachments
        except Exception as error:
            log.exception("no result could be made of %s", assignment.job_id)
            failure = f"the worker itself failed: no result could be made of what was measured: {type(error).__name__}: {error}"
            return result_of(self.author, assignment, None, failure, times, {}), {}

    def _decline(self, key: AttemptKey, reason: str) -> str:
        """Hand back what was taken and is not claimed: it will not be run here."""
        job_id, attempt = key
        self._tell(HandBack(job_id=job_id, attempt=attempt, reason=reason, **self.author.speaker()))
        log.info("attempt %d of %s handed back as it came: %s", attempt, job_id, reason)
        return "handed back"

    def _hand_back(self, assignment: Assignment, reason: str, job_log: JobLog) -> str:
        """Release first: whoever reads the message may claim the job the moment it is out."""
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
            # Not kept: the orchestrator learns the same from the result, or its watch from the heartbeat.
            log.warning("could not say %s of %s: %s", message.kind, message.job_id, error)
            return False
        return True

    def _send(self, result: Result, attachments: dict[str, bytes]) -> None:
        entry = self._spool.keep(result, attachments)  # the measurement stands, so it is sent whether or not it could be kept
        self._journals.done((result.job_id, result.attempt))  # its log travels with it
        kept = "kept, and sent again later" if entry is not None else "LOST; the job will run again"
        try:
            self._outbox.deliver(result, entry.attachments if entry is not None else attachments)
        except Unavailable as error:
            log.warning("the result of %s was not sent (%s): %s", result.job_id, error, kept)
        except Exception:  # a defect, or a file that is gone: what is kept must go all the same
            log.exception("the result of %s was not sent: %s", result.job_id, kept)
        else:
            if entry is not None:
                entry.sent(self._clock.monotonic())
            return
        if entry is not None:
            entry.failed(self._clock.monotonic())
