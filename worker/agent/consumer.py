"""Celery's worker, run inside this process: one message at a time from the capability queues, in a thread of its own.

The signals are not Celery's here: `WorkController` installs no handlers (only its subclass for the command line does),
so SIGTERM belongs to the agent, which ends the job in hand while this loop still runs and can acknowledge it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

from celery import Celery
from celery.exceptions import Reject
from celery.worker import WorkController, state
from celery.worker.consumer import Consumer

from shared.celery_app import make_celery_app
from shared.clock import Clock
from shared.errors import Unavailable
from shared.protocol.messages import TASK_NAME
from worker.tasks import NotNow, Quarantined

log = logging.getLogger(__name__)

EVENT_HEARTBEAT_S = 10.0  # for Flower, which learns from each one when to expect the next
RECONNECT_AT_MOST_S = 5.0
RESTART_AFTER_S = 1.0

DeadLetter = Callable[[str, Any], None]


class FleetmarkConsumer(Consumer):  # type: ignore[misc]  # Celery has no types
    """Celery's consumer, except that what it cannot read is kept, and that it returns soon after the broker does."""

    dead_letter: DeadLetter  # set on the subclass that `CeleryConsumer` makes

    def _keep(self, reason: str, message: Any) -> None:
        headers = dict(message.headers or {})
        try:
            body = message.body.decode(errors="replace") if isinstance(message.body, bytes) else message.body
            self.dead_letter(reason, {"headers": {name: headers[name] for name in ("id", "task") if name in headers}, "body": body})
        except Unavailable as error:
            log.error("a dead letter could not be kept: %s", error)  # noqa: TRY400 - the cause is in the text

    def on_unknown_message(self, body: Any, message: Any) -> None:
        self._keep("not a Celery message of protocol 1 or 2", message)
        super().on_unknown_message(body, message)

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        self._keep(f"no task of this worker is called {exc}", message)
        super().on_unknown_task(body, message, exc)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        self._keep(f"an invalid task message: {exc}", message)
        super().on_invalid_task(body, message, exc)

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        self._keep(f"cannot be decoded: {exc}", message)
        super().on_decode_error(message, exc)

    def ensure_connected(self, conn: Any) -> Any:
        """As Celery does it, waiting 5 s between tries at most, where Celery waits up to 30. Never gives up."""
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


class CeleryConsumer:
    """Owns the Celery application and its loop; starts the loop again should it die."""

    def __init__(
        self,
        *,
        broker_url: str,
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
            handle: runs one message to its end; `NotNow` puts it back.
        """
        self.app: Celery = make_celery_app(broker_url, queues=queues, worker_id=worker_id)
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
                return handle(args, kwargs)
            except Quarantined as why:
                log.warning("this device is in quarantine: what it took goes back into its queue")
                self.take(False)  # before the message is back, or this worker would be given it again at once
                raise Reject("the device is in quarantine", requeue=True) from why
            except NotNow as why:
                raise Reject("the worker is leaving", requeue=True) from why
            except Exception:
                log.exception("a job could not be handled; the watch will find it")  # Celery's own word of it is not shown
                raise

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
                # A message that is no message ends Celery's loop. It was taken off the queue before, so it cannot do so twice.
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
        """Take no further message, ever. The loop goes on, so that the one in hand can be acknowledged."""
        self.take(False)
        self._leaving = True

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

    def close(self, timeout_s: float) -> bool:
        """End the loop; what is in hand is finished first. False when it has not ended after `timeout_s`."""
        self._closing.set()
        state.should_stop = 0
        consumer = getattr(self._controller, "consumer", None)
        if consumer is not None:
            consumer.call_soon(lambda: None)  # the loop looks at once, not after its poll
        self._thread.join(timeout=timeout_s)
        return not self._thread.is_alive()
