"""Sends messages through Celery's broker connection and large files by HTTP. Results are sent again until they are answered."""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from pathlib import Path
from threading import Event, Thread

import redis
from celery import Celery
from kombu.exceptions import OperationalError

from shared.celery_app import results_queue
from shared.clock import Clock
from shared.errors import Unavailable
from shared.protocol.messages import Artifact, AttemptLog, HandBack, Result, Started
from shared.protocol.signatures import HEADER, sign
from worker.agent.broker import Broker
from worker.agent.login import Login
from worker.agent.uploads import NotSent, Refused, Unwanted, Uploads
from worker.job_log import Journals
from worker.reports import log_message
from worker.spool import Spool

log = logging.getLogger(__name__)

# A broken connection of the pool is opened again at once. If the broker is away, nobody waits for it here.
RETRY = {"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5}
INLINE_AT_WORST_BYTES = 32 * 2**20  # the largest file that is sent inside a message if it cannot be uploaded
POLL_S = 2.0  # how often to look for answers while a result waits for one


class BrokerAway(Unavailable):
    """Raised when the broker does not answer, so that no message can be sent."""


class Outbox:
    """Sends messages, and sends results again until they are answered."""

    def __init__(
        self,
        *,
        app: Celery,
        login: Login,
        worker_id: str,
        broker: Broker,
        spool: Spool,
        journals: Journals,
        uploads: Uploads | None,
        clock: Clock,
        poll_s: float = POLL_S,
    ) -> None:
        self._app, self._login, self._worker_id, self._broker = app, login, worker_id, broker
        self._spool, self._journals = spool, journals
        self._uploads, self._clock, self._poll_s = uploads, clock, poll_s
        self._said: set[str] = set()  # causes that have been logged
        self._wake = Event()
        self._closed = Event()
        self._thread = Thread(target=self._watch, name="outbox", daemon=True)

    def start(self) -> None:
        """Start the thread that sends results again. It begins with those that earlier processes left."""
        self._spool.hurry()
        self._wake.set()
        self._thread.start()

    def hurry(self) -> None:
        """Send everything that waits now, because the broker is back."""
        self._spool.hurry()
        self._wake.set()

    def tell(self, message: Started | HandBack | AttemptLog) -> None:
        self._publish(message.model_dump_json())

    def deliver(self, result: Result, attachments: Mapping[str, Path | bytes]) -> None:
        artifacts = dict(result.artifacts)
        for name, content in attachments.items():
            try:
                if self._uploads is None:
                    raise Refused("no orchestrator is known to upload to")
                self._uploads.send(result, name, content)
            except Unwanted:
                log.debug("%s of %s is not wanted any more", name, result.job_id)  # the answer to the message will confirm it
            except Refused as error:
                artifacts[name] = self._inline(result, name, content, str(error))
        self._publish(result.model_copy(update={"artifacts": artifacts}).model_dump_json())
        self._wake.set()

    def _inline(self, result: Result, name: str, content: Path | bytes, why: str) -> Artifact:
        """Put a file that cannot be uploaded into the message. A file that is too large or gone is only announced there."""
        artifact = result.artifacts[name]
        try:
            if artifact.size <= INLINE_AT_WORST_BYTES:
                data = content if isinstance(content, bytes) else content.read_bytes()
                return artifact.model_copy(update={"inline": base64.b64encode(data).decode()})
        except FileNotFoundError:
            log.debug("%s is gone", content)
        log.error("%s of %s (%d bytes) cannot be sent: %s", name, result.job_id, artifact.size, why)
        return artifact

    def _publish(self, body: str) -> None:
        """Publish a message, signed with the current key: a result in the spool may be older than the key."""
        queue = results_queue()
        key = self._login.report_key
        try:
            with self._app.producer_pool.acquire(block=True, timeout=30) as producer:
                producer.publish(
                    body,
                    headers={HEADER: sign(key, body.encode())} if key else None,
                    exchange="",
                    routing_key=queue.routing_key,
                    declare=[queue],
                    content_type="application/json",
                    content_encoding="utf-8",
                    delivery_mode="persistent",
                    retry=True,
                    retry_policy=RETRY,
                )
        except (OperationalError, redis.RedisError, OSError) as error:
            raise BrokerAway(f"the broker does not answer: {error}") from error

    def _watch(self) -> None:
        """Read answers and send again what is due, every two seconds. Sleeps while no result and no log waits."""
        while not self._closed.is_set():
            self._wake.wait(self._poll_s if self._spool.keys() or self._journals.waiting else None)
            if self._closed.is_set():
                return
            self._wake.clear()
            for step in (self.collect_answers, self.send_due, self.send_logs):
                try:
                    step()
                except Unavailable as error:
                    log.debug("the outbox waits: %s", error)  # it waits for Redis, whose absence the heartbeat logs once
                    break
                except Exception:
                    log.exception("the outbox failed")  # a defect; the other steps must still be done

    def _say(self, cause: str, text: str) -> None:
        """Log a warning once for each cause, until everything can be sent again."""
        log.log(logging.DEBUG if cause in self._said else logging.WARNING, "%s", text)
        self._said.add(cause)

    def collect_answers(self) -> None:
        """Read what the orchestrator did with the results, and forget those that it has answered."""
        answers = self._broker.answers(self._worker_id)
        for key, verdict in answers.items():
            if key in self._spool:
                log.debug("the result of attempt %d of %s was %s", key[1], key[0], verdict)
                self._spool.answered(key)
        if answers:
            self._broker.forget_answers(self._worker_id, list(answers))

    def send_due(self) -> None:
        """Send each result that is due. It is sent under this worker's current id, even if it was measured under an earlier one.

        Only the current id gets an answer. A result that cannot be sent does not delay the others, unless they need the same connection:
        without the broker nothing is sent, and without the orchestrator no result with files.

        Raises:
            Unavailable: The broker is away.
        """
        now = self._clock.monotonic()
        due = sorted((entry for entry in self._spool.entries() if entry.due <= now), key=lambda entry: (bool(entry.attachments), entry.due))
        failed, connected = 0, True
        for waiting in due:
            if self._closed.is_set() or (waiting.attachments and not connected):
                break
            entry = self._spool.settle(waiting)
            try:
                self.deliver(entry.result.model_copy(update={"worker_id": self._worker_id}), entry.attachments)
            except BrokerAway:
                entry.failed(self._clock.monotonic())
                raise
            except NotSent as error:
                failed, connected = failed + 1, error.answered
                entry.failed(self._clock.monotonic())
                self._say(error.cause, f"the result of {entry.result.job_id} is kept, and sent again: {error}")
            except Exception:
                failed += 1
                entry.failed(self._clock.monotonic())
                log.exception("the result of %s was not sent: kept, and sent again", entry.result.job_id)
            else:
                entry.sent(self._clock.monotonic())
                log.info("sent the result of attempt %d of %s again", entry.result.attempt, entry.result.job_id)
        if due and not failed:
            self._said.clear()

    def send_logs(self) -> None:
        """Send the logs of attempts without a result. Each is sent once: if the broker loses it, it is lost."""
        for key, lines in self._journals.left().items():
            self.tell(log_message(key, lines, self._worker_id))
            self._journals.done(key)

    def close(self) -> None:
        self._closed.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        if self._uploads is not None:
            self._uploads.close()
        self._app.close()
