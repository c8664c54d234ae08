"""Handles one message from a capability queue: reads it, claims its jobs, reports their start, measures them, and sends the results.

Most messages have one job. The jobs of a message with several are compared with each other, so their repeats take turns; otherwise each
of them is treated on its own. This module does not depend on Celery. The agent wraps `JobTask` in the task that Celery calls, and gives
it access to the broker.
"""

from __future__ import annotations

import json
import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shared.clock import Clock
from shared.errors import EngineUnavailable, Unavailable
from shared.ids import AttemptKey
from shared.log import about
from shared.masking import masked
from shared.protocol.keys import CLAIM_TTL_S
from shared.protocol.messages import Assignment, Result
from shared.targets import Launched
from worker.activity import Activity
from worker.assignments import read_order
from worker.job_log import JobLog, Journals
from worker.mail import Mail
from worker.ports import BrokerPort, OutboxPort, SupervisorPort
from worker.reports import Author, unreadable
from worker.rest import OWN_FAILURES, Rest
from worker.spool import Spool

if TYPE_CHECKING:
    from worker.supervisor import Outcome

log = logging.getLogger(__name__)

CLAIM_RETRY_S = 1.0
CLAIM_WITHIN_S = 600.0  # then the message is dropped, and the orchestrator's watch sends the job again
LEAVING = "the worker is stopping"
DONE = "this worker has run the attempt, and its result was answered"
QUARANTINED = "the device is in quarantine"
UNCLAIMED = "Redis took no claim of this device"
NOT_STARTED = "the worker could not start the job"
RESTING = "the device rests after a failure of its own"
BESIDE_DEFECT = "the worker itself failed in another job of the comparison"
FAILED = "failed"  # the beginning of what is said of a job that failed
SAID = 500  # characters of an error that Flower shows
REMEMBERED = 10_000  # how many finished attempts are remembered, in case one is delivered again


@dataclass(frozen=True)
class Begun:
    """Holds an attempt that has begun. `started_at` is in seconds since 1970."""

    assignment: Assignment
    job_log: JobLog
    started_at: float


class JobTask:
    """Runs the jobs of messages, one message at a time."""

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
        on_lost_ability: Callable[[], None] = lambda: None,
        clock_warning: str = "",
    ) -> None:
        """Set up the task.

        Args:
            clock_warning: What is wrong with this device's clock. It is added to the log of each attempt, whose times are then wrong.
            inline_everything: Send large artifacts inside the message, too, because no orchestrator to upload them to is known.
            on_lost_ability: Called after a job that failed because this device may lack a server that it has offered.
            on_pause: Called when this device must stop taking messages for a while, because it is in quarantine or rests.
        """
        self.author = author
        self._supervisor, self._broker = supervisor, broker
        self._spool, self._journals, self._activity, self._clock = spool, journals, activity, clock
        self._mail = Mail(
            author=author,
            broker=broker,
            outbox=outbox,
            spool=spool,
            journals=journals,
            clock=clock,
            inline_everything=inline_everything,
        )
        self._on_pause, self._on_lost_ability = on_pause, on_lost_ability
        self._clock_warning = clock_warning
        self._finished: deque[AttemptKey] = deque(maxlen=REMEMBERED)
        self._rest = Rest(clock)

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Handle one message. The message is never put back into its queue: with the right to do that, a worker could give others any work.

        Returns:
            What happened to the message, in a few words. Flower shows this text. If a job failed, it begins with the word `failed`.
        """
        order = read_order(args, kwargs)
        if order.reason:
            self._reject(order.reason, [list(args), kwargs])
        said = {key: refusal for key in order.keys if (refusal := self._refusal(key))}
        wanted = [key for key in order.keys if key not in said]
        if wanted:
            self._activity.begin(*wanted)
            try:
                said |= self._handle(wanted, {(one.job_id, one.attempt): one for one in order.assignments}, order.faults)
            finally:
                self._activity.end()
        return _summary([said[key] for key in order.keys]) if said else "dead letter"

    def hand_back(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Hand back the jobs of a message that was taken but cannot be started here. A message that names no job becomes a dead letter."""
        keys = read_order(args, kwargs).keys
        for key in keys:
            self._mail.decline(key, LEAVING if self._activity.stopping else NOT_STARTED)
        if not keys:
            self._reject("it names no job, and cannot be started", [list(args), kwargs])

    def _refusal(self, key: AttemptKey) -> str:
        """Return why a job is not even claimed, or an empty text. The orchestrator is told if it must send the job again."""
        if key in self._spool:
            return "dropped: already run here"  # it was delivered again because the connection was lost before the acknowledgement
        if key in self._finished:
            return self._mail.decline(key, DONE)  # the orchestrator still waits for this attempt, so it must have lost the result
        if self._activity.stopping:
            return self._mail.decline(key, LEAVING)
        if self.rests:
            self._on_pause()
            return self._mail.decline(key, RESTING)
        return ""

    def _handle(
        self, wanted: Sequence[AttemptKey], readable: Mapping[AttemptKey, Assignment], faults: Mapping[AttemptKey, str]
    ) -> dict[AttemptKey, str]:
        """Claim these jobs and run those that could be claimed. Returns for each of them what happened to it."""
        said: dict[AttemptKey, str] = {}
        claimed: list[Assignment] = []
        until = self._clock.monotonic() + CLAIM_WITHIN_S
        for key in wanted:
            with about(job_id=key[0]):
                refused = self._not_claimed(key, until)
                if refused:
                    said[key] = refused
                elif key in faults:
                    said[key] = self._cannot_read(key, faults[key])
                else:
                    claimed.append(readable[key])
                if key in said:
                    self._activity.leave(key)
        with about(**({"job_id": claimed[0].job_id} if len(claimed) == 1 else {})):
            return said | (self._run(claimed) if claimed else {})

    def _not_claimed(self, key: AttemptKey, until: float) -> str:
        """Claim a job. Returns what happened to it if it could not be claimed, else an empty text."""
        verdict = self._claim(*key, until)
        if verdict is None:
            return self._mail.decline(key, LEAVING)
        if verdict == "quarantined":
            self._on_pause()  # first, because otherwise this worker would take the job again at once
            return self._mail.decline(key, QUARANTINED)
        if verdict != "claimed":
            log.info("dropped attempt %d of %s: %s", key[1], key[0], verdict)
            return f"dropped: {verdict}"
        return ""

    def _reject(self, reason: str, body: Any) -> None:
        log.error("unreadable assignment, kept as a dead letter: %s", reason)
        try:
            self._broker.dead_letter(reason, json.dumps(body))
        except Unavailable as error:
            log.error("the dead letter could not be kept (%s); it was: %.2000s", error, body)  # noqa: TRY400 - the cause is in the text

    def _cannot_read(self, key: AttemptKey, reason: str) -> str:
        """Report the job as failed. Otherwise the watch would assume that its message was lost and would send it again and again."""
        result = unreadable(self.author, key, reason, self._clock.now().timestamp())
        self._mail.send(result, {})
        self._finished.append(key)
        return _in_words(result)

    def _claim(self, job_id: str, attempt: int, until: float) -> str | None:
        """Claim an attempt. Keeps trying while Redis is away, because only Redis knows who has the job.

        Args:
            until: When to give up, in monotonic seconds.

        Returns:
            The broker's answer, or `UNCLAIMED` if there was none in time. None if the worker stops first.
        """
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

    def _run(self, assignments: Sequence[Assignment]) -> dict[AttemptKey, str]:
        """Run claimed jobs to their ends. Returns for each of them what happened to it."""
        begun = {(one.job_id, one.attempt): self._begin(one) for one in assignments}
        said: dict[AttemptKey, str] = {}

        def on_over(key: AttemptKey, outcome: Outcome) -> None:
            with about(job_id=key[0]):
                said[key] = self._end(begun[key], outcome, "")
            self._activity.leave(key)

        try:
            self._supervisor.run_block(assignments, self._activity.stage, {key: attempt.job_log for key, attempt in begun.items()}, on_over)
        except Exception as error:
            current = self._activity.snapshot().job
            left = sorted((key for key in begun if key not in said), key=lambda key: key != current)
            log.exception("the supervisor failed in %s", left[0][0] if left else "a finished block")
            failure = f"the worker itself failed: {type(error).__name__}: {error}"
            for number, key in enumerate(left):
                attempt = begun[key]
                if number == 0:  # the current job fails; the others had no part in it
                    attempt.job_log.add("error", "infrastructure", failure)
                    said[key] = self._end(attempt, None, failure)
                else:
                    said[key] = self._mail.hand_back(key, BESIDE_DEFECT, attempt.job_log)
        return said

    def _begin(self, assignment: Assignment) -> Begun:
        key, started_at = (assignment.job_id, assignment.attempt), self._clock.now().timestamp()
        self._mail.started(key, started_at)
        log.info("attempt %d of %s began: %s on %s", key[1], key[0], assignment.workload.title, assignment.capability)
        job_log = JobLog(key, self._clock, self.author.worker_id, self._journals.begin(key))
        if self._clock_warning:
            job_log.add("warning", "system", self._clock_warning)
        return Begun(assignment, job_log, started_at)

    def _end(self, attempt: Begun, outcome: Outcome | None, failure: str) -> str:
        """Report the end of an attempt.

        Args:
            outcome: None if the supervisor itself failed, with the text `failure`.
        """
        key = (attempt.assignment.job_id, attempt.assignment.attempt)
        if outcome is not None and outcome.status == "handed_back":
            return self._mail.hand_back(key, outcome.error or LEAVING, attempt.job_log)
        if not self._activity.snapshot().others:
            self._activity.clean_up()
        times = (attempt.started_at, self._clock.now().timestamp())
        result, attachments = self._mail.packed(attempt.assignment, outcome, failure, times, attempt.job_log)
        self._rest_after(result)  # before the result is sent, which may cause the job to be sent again
        if result.error_kind == EngineUnavailable.kind and isinstance(attempt.assignment.workload.target, Launched):
            self._on_lost_ability()  # before the result is sent, after which the next such job may be sent here
        self._mail.send(result, attachments)
        self._finished.append(key)
        log.info("attempt %d of %s ended: %s%s", result.attempt, result.job_id, result.status, f": {result.error}" if result.error else "")
        return _in_words(result)


def _in_words(result: Result) -> str:
    return f"{FAILED}: {masked(result.error)[:SAID]}" if result.status == FAILED and result.error else result.status


def _summary(said: Sequence[str]) -> str:
    """Return what happened to the jobs of one message, in a few words."""
    failures = [words for words in said if words.startswith(FAILED)]
    if len(said) == 1:
        return said[0]
    if failures:
        return f"{FAILED}: {len(failures)} of {len(said)} jobs, the first{failures[0].removeprefix(FAILED)}"
    return ", ".join(f"{count} {words}" for words, count in Counter(said).items())
