"""Runs Celery's worker in a thread of this process. It takes one message at a time from the capability queues.

Celery handles no signals here, because only its command line installs handlers. The agent handles SIGTERM. It ends the current job
while this loop still runs and can acknowledge the job's message.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

from celery import Celery
from celery.worker import WorkController, state

from shared.celery_app import make_celery_app
from shared.clock import Clock
from shared.protocol.messages import TASK_NAME
from worker.agent.login import Login
from worker.agent.queue_reader import DeadLetter, HandBack, QueueReader
from worker.tasks import FAILED

log = logging.getLogger(__name__)

EVENT_HEARTBEAT_S = 10.0  # seconds between events for Flower; each event says when the next one is due
RESTART_AFTER_S = 1.0
LAST_READ_S = 3.0  # seconds; Redis answers a blocking read within one second, with or without a message


class JobFailed(Exception):
    """Tells Celery, and so Flower, that a job failed. Its result has been sent already."""


class CeleryConsumer:
    """Owns the Celery application and its loop, and restarts the loop if it fails."""

    def __init__(
        self,
        *,
        login: Login,
        worker_id: str,
        queues: tuple[str, ...],
        nodename: str,
        handle: Callable[[tuple[Any, ...], dict[str, Any]], str],
        hand_back: HandBack,
        dead_letter: DeadLetter,
        clock: Clock,
    ) -> None:
        """Create the application and its one task.

        Args:
            nodename: `<device>@<worker id>`, the name that Flower shows.
            handle: Handles one message to its end.
            hand_back: Called with a job's message that Celery could not start.
            dead_letter: Called with a message that is not a job.
        """
        self.app: Celery = make_celery_app(login.address, queues=queues, worker_id=worker_id, credentials=login)
        self.app.conf.broker_transport = "worker.agent.transport:Transport"
        self._nodename, self._clock = nodename, clock
        self._closing = Event()
        hooks: dict[str, Callable[..., Any]] = {
            **{"dead_letter": dead_letter, "hand_back": hand_back},
            **{"may_take": self._may_take, "pause": self._closing.wait},
        }
        self._consumer_class = type("BoundQueueReader", (QueueReader,), {name: staticmethod(hook) for name, hook in hooks.items()})
        self._controller: Any = None
        self._leaving = False
        self._taking = True
        self.ready = Event()
        self._thread = Thread(target=self._run, name="celery", daemon=True)

        def run_job(*args: Any, **kwargs: Any) -> str:
            try:
                said = handle(args, kwargs)
            except Exception:
                log.exception("a job could not be handled; the watch will find it")  # logged here, because Celery's own log is hidden
                raise
            if said.startswith(FAILED):
                raise JobFailed(said.removeprefix(FAILED).removeprefix(": "))  # Celery acknowledges the message all the same
            return said

        # The task is not shared. Celery adds a shared task to every later application of this process, in place of that application's own.
        # After a new registration under another id, jobs would run under the old id, which has stopped.
        self.app.task(name=TASK_NAME, acks_late=True, ignore_result=True, shared=False)(run_job)

    def start(self) -> None:
        self.app.set_default()  # Celery's pool thread looks the task up in the default application
        self._thread.start()

    def _run(self) -> None:
        while not self._closing.is_set():
            state.should_stop = None
            if self._closing.is_set():  # `close` was called before the line above, which has undone its request
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

    @property
    def _reader(self) -> Any:
        return getattr(self._controller, "consumer", None)

    def take(self, taking: bool) -> None:
        """Switch taking messages on or off. After switching it off, a message that Redis was already asked for may still arrive."""
        self._taking = taking

    def _may_take(self) -> bool:
        """Return whether the loop may ask Redis for another message. The loop calls this each time, on every connection."""
        return self._taking and not self._leaving

    def stop_taking(self) -> None:
        """Stop taking messages for good. Returns when no message is on its way any more, or after `LAST_READ_S`.

        The loop continues to run, so that it can acknowledge the current message.
        """
        self._leaving = True
        reader = self._reader
        if reader is None or not self.ready.is_set():
            return  # the loop has not asked Redis yet, and will not ask
        # The loop may have just read `_may_take` and not asked Redis yet. When it runs this callback, it has either asked or has
        # seen that it must not.
        came_round = Event()
        reader.call_soon(came_round.set)
        until = self._clock.monotonic() + LAST_READ_S
        while self._clock.monotonic() < until and not (came_round.is_set() and not self._is_reading(reader)):
            self._clock.sleep(0.02)

    def _is_reading(self, reader: Any) -> bool:
        tasks = reader.task_consumer
        return bool(tasks is not None and tasks.channel is not None and tasks.channel.is_reading)

    def reconnect(self) -> None:
        """Open every connection again, because the broker was away and is back.

        The old connections may be half open. The loop would notice that for one connection after the other, and lose a message each time.
        """
        reader = self._reader
        if self._leaving or reader is None or not self.ready.is_set():
            return

        def fail() -> None:
            if not self._closing.is_set():
                raise ConnectionError("the broker was away")

        reader.call_soon(fail)

    def close(self, timeout_s: float) -> bool:
        """End the loop after the current job. Returns False if it has not ended after `timeout_s`."""
        self._closing.set()
        state.should_stop = 0
        if self._reader is not None:
            self._reader.call_soon(lambda: None)  # wakes the loop, so that it does not wait for the end of its poll
        self._thread.join(timeout=timeout_s)
        return not self._thread.is_alive()
