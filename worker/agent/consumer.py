"""Celery's worker, run inside this process: one message at a time from the capability queues, in a thread of its own.

The signals are not Celery's here: `WorkController` installs no handlers (only its subclass for the command line does),
so SIGTERM belongs to the agent, which ends the job in hand while this loop still runs and can acknowledge it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

from celery import Celery
from celery.worker import WorkController, state
from celery.worker.consumer import Consumer
from celery.worker.consumer.control import Control
from celery.worker.control import Panel

from shared.celery_app import make_celery_app
from shared.clock import Clock
from shared.errors import Unavailable
from shared.protocol.messages import TASK_NAME
from worker.agent.envelope import AnyMessage, fault_of, reading
from worker.agent.login import Login

log = logging.getLogger(__name__)

EVENT_HEARTBEAT_S = 10.0  # for Flower, which learns from each one when to expect the next
RECONNECT_AT_MOST_S = 5.0
RESTART_AFTER_S = 1.0
ANSWER_WITHIN_S = 5.0
LAST_READ_S = 3.0  # Redis answers within a second, with a message or without

# What may be asked from outside: how things are. Nothing that ends the worker, its tasks, or what it listens to.
QUESTIONS = ("ping", "stats", "conf", "active", "active_queues", "query_task", "registered", "reserved", "revoked", "scheduled")
SENT_BY_FLOWER = ("enable_events",)  # every few seconds; they are on

DeadLetter = Callable[[str, str, str], None]  # reason, message, queue


class Questions(Control):  # type: ignore[misc]  # Celery has no types
    """Celery's remote control, without its commands."""

    def __init__(self, c: Any, **options: Any) -> None:
        super().__init__(c, **options)
        self.box.node.handlers = {name: Panel.data[name] for name in (*QUESTIONS, *SENT_BY_FLOWER)}


class FleetmarkConsumer(Consumer):  # type: ignore[misc]  # Celery has no types
    """Celery's consumer, except that what is no job is kept and rejected, and that it returns soon after the broker does."""

    dead_letter: DeadLetter  # set on the subclass that `CeleryConsumer` makes

    class Blueprint(Consumer.Blueprint):  # type: ignore[misc]
        default_steps = (*(step for step in Consumer.Blueprint.default_steps if not step.endswith(":Control")), Questions)

    def loop_args(self) -> Any:
        """The loop is about to read from its channel: from here on, no bytes in a queue end it."""
        channel = self.task_consumer.channel
        channel.forget_booked()
        channel.Message = AnyMessage
        channel.client.parse_response = reading(channel.client.parse_response, lambda reason, text: self._bury(reason, text, ""))
        return super().loop_args()

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        handle = super().create_task_handler(*args, **kwargs)

        def handle_anything(message: Any) -> None:
            fault = fault_of(message)
            if fault is None:
                try:
                    handle(message)
                except self.connection_errors:
                    raise
                except Exception as error:
                    log.exception("Celery cannot handle a message")
                    fault = f"Celery cannot handle it: {type(error).__name__}: {error}"
            if fault is not None and not message.acknowledged:
                self._keep(fault, message)
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
        log.error("a message that is no job goes to the dead letters: %s", reason)
        try:
            self.dead_letter(reason, message, queue)
        except Unavailable as error:
            log.error("the dead letter could not be kept (%s); it was: %.2000s", error, message)  # noqa: TRY400 - the cause is in the text

    def ensure_connected(self, conn: Any) -> Any:
        """As Celery does it, waiting 5 s between tries at most, where Celery waits up to 30. Never gives up.

        What goes over these connections is small, and the loop stands still while it waits for one that is dead.
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


_serving: dict[str, Callable[[tuple[Any, ...], dict[str, Any]], str]] = {}  # `handle` of the consumer that was made last


class CeleryConsumer:
    """Owns the Celery application and its loop; starts the loop again should it die."""

    def __init__(
        self,
        *,
        login: Login,
        worker_id: str,
        queues: tuple[str, ...],
        nodename: str,
        handle: Callable[[tuple[Any, ...], dict[str, Any]], str],
        dead_letter: DeadLetter,
        clock: Clock,
    ) -> None:
        """
        Args:
            nodename: `<device>@<worker id>`, what Flower shows.
            handle: runs one message to its end.
        """
        self.app: Celery = make_celery_app(login.address, queues=queues, worker_id=worker_id, credentials=login)
        self.app.conf.broker_transport = "worker.agent.transport:Transport"
        self._nodename, self._queues, self._clock = nodename, queues, clock
        self._consumer_class = type("BoundConsumer", (FleetmarkConsumer,), {"dead_letter": staticmethod(dead_letter)})
        self._controller: Any = None
        self._closing = Event()
        self._leaving = False
        self._taking = True
        self.ready = Event()
        self._thread = Thread(target=self._run, name="celery", daemon=True)

        def run_job(*args: Any, **kwargs: Any) -> str:
            try:
                return _serving["handle"](args, kwargs)
            except Exception:
                log.exception("a job could not be handled; the watch will find it")  # Celery's own word of it is not shown
                raise

        # Celery runs the task that the process's default application knows by this name, and that stays the first one. So it is the
        # same for every name of a worker, and hands each message to whoever serves now.
        _serving["handle"] = handle
        self.app.task(name=TASK_NAME, acks_late=True, ignore_result=True)(run_job)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        while not self._closing.is_set():
            state.should_stop = None
            if self._closing.is_set():  # `close` came between the two lines above, and its word was just overwritten
                return
            try:
                self._controller = self._new_controller()
                self._controller.start()
            except Exception:
                log.exception("the queue reader failed")
            if not self._closing.is_set():
                log.error("the queue reader ended; starting it again")
                self._clock.sleep(RESTART_AFTER_S)

    def _new_controller(self) -> Any:
        return WorkController(
            app=self.app,
            hostname=self._nodename,
            pool_cls="threads",
            concurrency=1,
            consumer_cls=self._consumer_class,
            without_gossip=True,
            without_mingle=True,
            heartbeat_interval=EVENT_HEARTBEAT_S,
            task_events=True,
            ready_callback=lambda _: self.ready.set(),
        )

    def stop_taking(self) -> None:
        """Take no further message, ever; returns when none is on its way. The loop goes on, so that the one in hand can be acknowledged."""
        self.take(False)
        self._leaving = True
        until = self._clock.monotonic() + LAST_READ_S
        while self._is_reading() and self._clock.monotonic() < until:
            self._clock.sleep(0.02)

    def _is_reading(self) -> bool:
        consumer = getattr(self._controller, "consumer", None)
        tasks = getattr(consumer, "task_consumer", None)
        return bool(tasks is not None and tasks.channel is not None and getattr(tasks.channel, "is_reading", False))

    def take(self, taking: bool) -> None:
        """Take messages, or none for now. Asked for again and again: before the loop is ready it comes to nothing."""
        consumer = getattr(self._controller, "consumer", None)
        if taking == self._taking or self._leaving or consumer is None or not self.ready.is_set():
            return
        self._taking = taking

        def change() -> None:
            known = self.app.amqp.queues
            for queue in self._queues:  # what the next connection takes from
                if taking:
                    known.select_add(known[queue])
                else:
                    known.deselect(queue)
            if consumer.task_consumer is not None:
                for queue in self._queues:
                    (consumer.add_task_queue if taking else consumer.cancel_task_queue)(queue)

        consumer.call_soon(change)

    def reconnect(self) -> None:
        """The broker was away and is back: open every connection anew.

        Those of before may be half open. The loop would find out one after the other, each by a message that is taken off its
        queue and cannot be booked.
        """
        consumer = getattr(self._controller, "consumer", None)
        if self._leaving or consumer is None or not self.ready.is_set():
            return

        def fail() -> None:
            if not self._closing.is_set():
                raise ConnectionError("the broker was away")

        consumer.call_soon(fail)

    def close(self, timeout_s: float) -> bool:
        """End the loop; what is in hand is finished first. False when it has not ended after `timeout_s`."""
        self._closing.set()
        state.should_stop = 0
        consumer = getattr(self._controller, "consumer", None)
        if consumer is not None:
            consumer.call_soon(lambda: None)  # the loop looks at once, not after its poll
        self._thread.join(timeout=timeout_s)
        return not self._thread.is_alive()
