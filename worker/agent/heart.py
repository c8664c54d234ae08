"""Sends heartbeats: they tell Redis that this worker is alive and which jobs it holds. The answer names its cancelled jobs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from threading import Event, Thread
from typing import Any

from shared.errors import Unavailable
from shared.ids import AttemptKey
from worker.activity import Activity, Snapshot
from worker.agent.broker import Beat, Broker, LoginRefused

log = logging.getLogger(__name__)

HELD_AT_MOST = 1_000  # the most jobs in one heartbeat, which keeps it below 100 kB however long the orchestrator is away


class Heart:
    """Sends a heartbeat every `every_s` seconds, and at once when the status changes, from its own thread."""

    def __init__(
        self,
        *,
        broker: Broker,
        activity: Activity,
        worker_id: str,
        unanswered: Callable[[], Sequence[AttemptKey]],
        every_s: float,
        on_cancelled: Callable[[AttemptKey], None],
        on_unknown: Callable[[], None],
        on_conflict: Callable[[], None],
        on_back: Callable[[], None],
        on_quarantine: Callable[[bool], None],
        measured: Callable[[], dict[str, Any]] = dict,
        services: Callable[[], list[dict[str, Any]]] = list,
        on_unwanted_service: Callable[[str], None] = lambda _service: None,
    ) -> None:
        """Prepare the thread.

        Args:
            on_unknown: Called when Redis does not know this worker or its login any more. If it raises `Unavailable`, it is called again
                at the next heartbeat.
            on_back: Called after the first successful heartbeat that follows failed ones.
            on_quarantine: Called at each heartbeat with whether this device is in quarantine.
            measured: Returns the last measured figures of this device. It is called after each job. The heartbeat tells them when they
                have changed.
            on_unwanted_service: Called with the id of an idle service that a user has stopped. It may be called again with the same id.
            services: Returns the services that this worker runs at the moment. The heartbeat tells them when they have changed.
        """
        self._broker, self._activity = broker, activity
        self._worker_id, self._unanswered, self._every_s = worker_id, unanswered, every_s
        self._on_cancelled, self._on_unknown, self._on_conflict = on_cancelled, on_unknown, on_conflict
        self._on_back, self._on_quarantine = on_back, on_quarantine
        self._measured, self._services, self._on_unwanted_service = measured, services, on_unwanted_service
        self._figures: dict[str, Any] | None = None  # None when they have to be read: at the start, and after a job
        self._last_figures: dict[str, Any] = {}
        self._told: dict[str, Any] = {}
        self._wake = Event()
        self._closed = Event()
        self.away = False  # whether the last heartbeat did not reach Redis
        self._unknown = False  # whether the loss of our registration has been logged
        self._quarantine = ""
        self._refused = False  # whether the refusal of our login has been logged
        self._thread = Thread(target=self._beat_on, name="heart", daemon=True)
        activity.listen(self._status_changed)

    def start(self) -> None:
        self._thread.start()

    def _status_changed(self) -> None:
        self._figures = None
        self._wake.set()

    def _beat_on(self) -> None:
        failures = 0
        while not self._closed.is_set():
            self._wake.clear()
            try:
                self.beat()
            except Unavailable as error:
                if not self.away:
                    log.warning("%s; measuring goes on, and this is tried again", error.detail)
                    self.away = True
                failures += 1
                # The first retries come sooner than the next heartbeat, because a restarted Redis is back within a second. A change
                # of status does not shorten this wait.
                self._closed.wait(min(self._every_s, 0.5 * 2 ** min(failures - 1, 5)))
                continue
            except Exception:
                log.exception("a heartbeat failed")  # a defect; the next heartbeat must still be sent
            failures = 0
            self._wake.wait(self._every_s)

    def beat(self) -> None:
        now = self._activity.snapshot()
        held = [*now.jobs, *self._unanswered()][:HELD_AT_MOST]
        answer = self._say(now, list(dict.fromkeys(held)))
        if answer.conflict:
            self._on_conflict()
            return
        if not answer.known:
            if not self._unknown:
                log.warning("Redis does not know this worker any more; registering again")
            self._unknown = True
            self._on_unknown()
        self._unknown = not answer.known
        if self.away:
            self.away = False
            log.info("Redis is back")
            self._on_back()
        if bool(answer.quarantine) != bool(self._quarantine):
            log.warning("%s", f"in quarantine, no job is taken: {answer.quarantine}" if answer.quarantine else "out of quarantine")
        self._quarantine = answer.quarantine
        self._on_quarantine(bool(answer.quarantine))
        for job in now.jobs:
            if job[0] in answer.cancelled:
                self._on_cancelled(job)
        if answer.unwanted_service:
            self._on_unwanted_service(answer.unwanted_service)

    def _say(self, now: Snapshot, held: list[AttemptKey]) -> Beat:
        """Send one heartbeat. If Redis refuses this worker's login, register for a new login and send it again."""
        told = self._known(now)
        try:
            answer = self._broker.heartbeat(self._worker_id, now, held, told if told != self._told else None)
        except LoginRefused as error:
            if not self._refused:
                log.warning("%s; registering again", error.detail)
            self._refused = True
            self._on_unknown()
            answer = self._broker.heartbeat(self._worker_id, now, held, told if told != self._told else None)
        self._refused = False
        self._told = told if answer.known else {}
        return answer

    def _known(self, now: Snapshot) -> dict[str, Any]:
        """Return what Redis shall know of this device. Its figures are not read during a job, so that no measurement is disturbed."""
        if now.job is None and self._figures is None:
            self._figures = self._measured()
            self._last_figures = self._figures
        services = self._services()
        return {**self._last_figures, **({"services": services} if services or "services" in self._told else {})}

    def close(self) -> None:
        self._closed.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=15)
