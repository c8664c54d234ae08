"""Assembles the control plane: the context of a process, and the threads that run beside the API."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable

from orchestrator.checkout import own_commit
from orchestrator.consumer import ResultsConsumer
from orchestrator.dispatch.celery_queue import CeleryQueue
from orchestrator.operations.context import Context
from orchestrator.operations.figures import Backfill
from orchestrator.operations.finish import finish_ended
from orchestrator.operations.leftovers import sweep_leftovers
from orchestrator.operations.scoring import score_ended
from orchestrator.registry import Registry
from orchestrator.settings import Settings
from orchestrator.store import Store
from orchestrator.store.schema import migrate, require_current
from orchestrator.watch import Watch
from shared.clock import Clock, SystemClock
from shared.errors import Unavailable

log = logging.getLogger(__name__)

REPORTER_IDLE_S = 30.0  # the longest delay until a campaign that ended in another process is found
SWEEP_FILES_S = 3_600.0
STOP_WAIT_S = 20.0


class ControlPlane:
    """Holds the context of a process and its background threads."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings = settings
        self._stop = threading.Event()
        self._report = threading.Event()
        self._score = threading.Event()
        self._threads: list[threading.Thread] = []
        clock = clock or SystemClock()
        self.context = Context(
            settings=settings,
            store=Store(settings.database_url, clock),
            registry=Registry(settings.redis_url, settings.heartbeat_timeout_s),
            queue=CeleryQueue(settings.redis_url),
            clock=clock,
            wake_reporter=self._report.set,
            wake_scorer=self._score.set,
            git_commit=own_commit(),
        )

    def prepare(self, *, migrating: bool) -> None:
        """Migrate the database, or check that it is current.

        If the database is away, this does not fail: a thread tries again, and the API answers 503 until then.
        """
        try:
            if migrating:
                migrate(self.context.store)
            else:
                require_current(self.context.store)
        except Unavailable as error:
            log.warning("starting without the database: %s", error.detail)
            self._start("migrate" if migrating else "schema", lambda: self._prepare_later(migrating))

    def _prepare_later(self, migrating: bool) -> None:
        while not self._stop.wait(1.0):
            try:
                (migrate if migrating else require_current)(self.context.store)
            except Unavailable as error:
                log.debug("still without the database: %s", error.detail)
            else:
                log.info("the database is there and current")
                return

    def start_consumer(self) -> None:
        self._start("consumer", lambda: ResultsConsumer(self.context, self.settings.redis_url).run(self._stop))
        self._start("reporter", self._write_reports)
        self._start("scorer", self._judge_answers)

    def start_watch(self) -> None:
        self._start("watch", lambda: Watch(self.context).run(self._stop))

    def _write_reports(self) -> None:
        clock, swept, backfill = self.context.clock, -math.inf, Backfill()
        while not self._stop.is_set():
            self._report.clear()
            try:
                finish_ended(self.context)
                if clock.monotonic() - swept >= SWEEP_FILES_S:
                    swept = clock.monotonic()
                    self._sweep_leftovers()
                began = clock.monotonic()
                if backfill.step(self.context):
                    self._report.wait(clock.monotonic() - began)  # half of the time is left for the API and the consumer
                    continue
            except Unavailable as error:
                log.warning("the files of campaigns wait: %s", error.detail)
                self._stop.wait(1.0)
                continue
            self._report.wait(REPORTER_IDLE_S)

    def _judge_answers(self) -> None:
        """Judge what language models wrote. This has a thread of its own: it may take minutes, and other campaigns do not wait for it."""
        while not self._stop.is_set():
            self._score.clear()
            try:
                if score_ended(self.context, self._stop.is_set):
                    self._report.set()
            except Unavailable as error:
                log.warning("the answers of campaigns wait to be judged: %s", error.detail)
                self._stop.wait(1.0)
                continue
            self._score.wait(REPORTER_IDLE_S)

    def _sweep_leftovers(self) -> None:
        try:
            sweep_leftovers(self.context)
        except Unavailable:
            raise
        except Exception:  # reports must not wait for that, and the same error would come back in a second
            log.exception("abandoned uploads could not be looked for; the next try is in %g s", SWEEP_FILES_S)

    def _start(self, name: str, work: Callable[[], None]) -> None:
        def guarded() -> None:
            while not self._stop.is_set():
                try:
                    work()
                except Exception:
                    # A thread that ends silently would lose work, so the error is logged and the thread starts again.
                    log.exception("%s failed; it starts again in a second", name)
                    self._stop.wait(1.0)
                else:
                    return

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def wait(self) -> None:
        """Wait until `request_stop` or `stop` is called."""
        self._stop.wait()

    def request_stop(self) -> None:
        """End `wait` and tell the threads to stop. This is safe to call from a signal handler."""
        self._stop.set()

    def stop(self) -> None:
        """Stop the threads and close every connection. Wait for each thread for at most `STOP_WAIT_S`."""
        self._stop.set()
        self._report.set()
        self._score.set()
        for thread in self._threads:
            thread.join(STOP_WAIT_S)
        self.context.queue.close()
        self.context.registry.close()
        self.context.store.close()
