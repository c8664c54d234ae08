"""Adapts Celery's consumer class to our needs. `docs/decisions` gives the reason for each change."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

from celery.worker import state
from celery.worker.consumer import Consumer
from celery.worker.consumer.control import Control
from celery.worker.control import Panel
from redis import ResponseError

from shared.errors import Unavailable
from worker.agent.envelope import AnyMessage, fault_of, reading

log = logging.getLogger(__name__)

RECONNECT_AT_MOST_S = 5.0
ANSWER_WITHIN_S = 5.0

# Remote control may ask for the worker's state. It may not end the worker or its tasks, or change which queues it reads.
QUESTIONS = ("ping", "stats", "conf", "active", "active_queues", "query_task", "registered", "reserved", "revoked", "scheduled")
SENT_BY_FLOWER = ("enable_events",)  # Flower sends it every few seconds; it has no effect, because events are always on

DeadLetter = Callable[[str, str, str], None]  # the arguments are the reason, the message and the queue
HandBack = Callable[[tuple[Any, ...], dict[str, Any]], None]  # the arguments are the positional and the keyword arguments of a message


class Questions(Control):  # type: ignore[misc]  # Celery has no types
    """Answers the questions of Celery's remote control, and obeys no commands."""

    def __init__(self, c: Any, **options: Any) -> None:
        super().__init__(c, **options)
        self.box.node.handlers = {name: Panel.data[name] for name in (*QUESTIONS, *SENT_BY_FLOWER)}


class QueueReader(Consumer):  # type: ignore[misc]  # Celery has no types
    """Extends Celery's consumer by four changes.

    Messages that are not jobs go to the dead letters. A job that Celery cannot start is handed back. After an outage the connection is
    retried at least every 5 s. If Redis answers but refuses (it is full, or read-only), this counts as an outage, too; Celery itself
    would end.
    """

    connection_errors: tuple[type[Exception], ...]  # set by Celery
    # `CeleryConsumer` makes a subclass that sets these.
    dead_letter: DeadLetter
    hand_back: HandBack
    may_take: Callable[[], bool]
    pause: Callable[[float], object]  # waits for that many seconds, or until the consumer is closed

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.connection_errors = (*self.connection_errors, ResponseError)
        self._refusals = 0  # how many refusals in a row

    class Blueprint(Consumer.Blueprint):  # type: ignore[misc]
        default_steps = (*(step for step in Consumer.Blueprint.default_steps if not step.endswith(":Control")), Questions)

    def loop_args(self) -> Any:
        """Prepare the channel of the new connection, just before the loop reads from it."""
        channel = self.task_consumer.channel
        channel.forget_booked()
        channel.may_take = self.may_take
        channel.Message = AnyMessage
        channel.client.parse_response = reading(
            channel.client.parse_response, answered=self._is_well, unreadable=lambda reason, text: self._bury(reason, text, "")
        )
        return super().loop_args()

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        super().on_connection_error_before_connected(exc)
        self._wait_if_refused(exc)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        super().on_connection_error_after_connected(exc)
        self._wait_if_refused(exc)

    def _wait_if_refused(self, error: Exception) -> None:
        """Wait before the next try if Redis has answered with a refusal. Celery itself would try again at once."""
        if not isinstance(error, ResponseError):
            return
        if not self._refusals:
            log.warning("Redis refuses what the queue reader needs (%s); no job is taken until it allows it again", error)
        self.pause(min(0.5 * 2**self._refusals, RECONNECT_AT_MOST_S))
        self._refusals += 1

    def _is_well(self) -> None:
        if self._refusals:
            log.info("Redis allows the queue reader to work again")
        self._refusals = 0

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        start_job = super().create_task_handler(*args, **kwargs)

        def handle_anything(message: Any) -> None:
            fault = fault_of(message)
            if fault is not None:
                self._keep(fault, message)
            else:
                try:
                    start_job(message)
                    return
                except self.connection_errors:
                    raise
                except Exception:  # Celery's pool has ended, or Celery cannot use a field of the envelope
                    log.warning("Celery cannot start a job, which is handed back", exc_info=self.may_take())
                    arguments, keywords, _ = message.payload
                    self.hand_back(tuple(arguments), keywords)
            if not message.acknowledged:
                message.reject_log_error(log, self.connection_errors)

        return handle_anything

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        self._keep(f"cannot be decoded: {exc}", message)
        super().on_decode_error(message, exc)

    def _keep(self, reason: str, message: Any) -> None:
        body = message.body.decode(errors="backslashreplace") if isinstance(message.body, bytes) else str(message.body)
        known = {name: message.headers[name] for name in ("id", "task") if name in message.headers}
        self._bury(reason, f"{json.dumps(known)} {body}" if known else body, str(message.delivery_info.get("routing_key", "")))

    def _bury(self, reason: str, message: str, queue: str) -> None:
        log.error("a message that is not a job goes to the dead letters: %s", reason)
        try:
            self.dead_letter(reason, message, queue)
        except Unavailable as error:
            log.error("the dead letter could not be kept (%s); it was: %.2000s", error, message)  # noqa: TRY400 - the cause is in the text

    def ensure_connected(self, conn: Any) -> Any:
        """Connect to the broker, waiting at most 5 s between two tries (Celery waits up to 30 s). Never gives up.

        These connections carry only small messages, and the loop is blocked while it waits for a dead one. So a connection that gives no
        answer for 5 s is closed.
        """
        conn.transport_options = {**conn.transport_options, "socket_timeout": ANSWER_WITHIN_S}
        tried = conn.ensure_connection(
            lambda error, _: log.debug("broker: %s", error),
            None,
            interval_start=0.5,
            interval_step=0.5,
            interval_max=RECONNECT_AT_MOST_S,
            callback=state.maybe_shutdown,
        )
        self.first_connection_attempt = False
        self.broker_connection_retry_attempt = 0
        return tried
