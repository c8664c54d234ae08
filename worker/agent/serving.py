"""Creates the parts of a registered worker (broker, queue reader, heartbeat, outbox), and ends them in the right order."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Protocol

from shared.adverts import MODELS
from shared.capabilities import worker_queue
from shared.clock import Clock, clock_warning
from shared.errors import InvalidInput, Unavailable
from shared.protocol.messages import Device
from shared.tls import Untrusted
from shared.workers import Registration
from worker.activity import Activity
from worker.agent.benchmark_results import told
from worker.agent.broker import Broker
from worker.agent.consumer import CeleryConsumer
from worker.agent.heart import Heart
from worker.agent.login import Login
from worker.agent.outbox import Outbox
from worker.agent.registration import Registered
from worker.agent.uploads import Uploads
from worker.hardware_tests.last import read
from worker.job_log import Journals
from worker.launchers.running import RunningServices
from worker.models.known import FOLDER, keys_of, known_models
from worker.ports import SupervisorPort
from worker.reports import Author
from worker.settings import WorkerSettings
from worker.spool import Spool
from worker.tasks import JobTask

log = logging.getLogger(__name__)

STOP_AGAIN_S = 0.5  # how often the stop is repeated, because a job may not have reached the supervisor yet
HAND_BACK_WITHIN_S = 60.0
FINISH_LOOK_S, FINISH_SAY_S = 1.0, 60.0
ACKNOWLEDGE_WITHIN_S = 5.0
LOOP_ENDS_WITHIN_S = 15.0


class SupervisorLife(SupervisorPort, Protocol):
    """Adds a start and an end to the supervisor that a task needs."""

    services: RunningServices

    def start(self) -> None: ...

    def stop_service(self, service_id: str) -> None: ...

    def close(self) -> None: ...


class Serving:
    """Takes jobs under one worker id, from `start` to `leave`."""

    def __init__(
        self,
        settings: WorkerSettings,
        registered: Registered,
        registration: Registration,
        *,
        device: Device,
        supervisor: SupervisorLife,
        clock: Clock,
        on_unknown: Callable[[], None],
        on_conflict: Callable[[], None],
        on_lost_ability: Callable[[], None] = lambda: None,
    ) -> None:
        """Create the parts.

        Args:
            on_unknown: Called when Redis does not know this worker or its login any more. It registers again, or raises `Unavailable`.
            on_conflict: Called when another process has registered as this device.

        Raises:
            InvalidInput: The spool folder cannot be written to.
        """
        self.worker_id = registered.worker_id
        self.activity = Activity()
        self._supervisor, self._clock = supervisor, clock
        self.login = Login(registered.broker_url, settings.ca_file, registered.report_key)
        self._broker = Broker(self.login, registration.incarnation, settings.heartbeat_timeout_s, self.worker_id)
        token = settings.token.get_secret_value() if settings.token else None
        uploads = Uploads(settings.host, token, settings.ca_file) if settings.host else None
        spool = _open_spool(settings)
        journals = Journals(settings.spool_dir, clock, self.worker_id)
        for entry in spool.entries():
            journals.done(entry.key)  # the process ended after it had stored the result, which contains the log
        self._consumer = CeleryConsumer(
            login=self.login,
            worker_id=self.worker_id,
            queues=(*registration.capabilities, worker_queue(self.worker_id)),
            nodename=f"{_plain(settings.device_name)}@{self.worker_id}",
            handle=lambda args, kwargs: self._task(args, kwargs),
            hand_back=lambda args, kwargs: self._task.hand_back(args, kwargs),
            dead_letter=self._broker.dead_letter,
            clock=clock,
        )
        self.outbox = Outbox(
            app=self._consumer.app,
            login=self.login,
            worker_id=self.worker_id,
            broker=self._broker,
            spool=spool,
            journals=journals,
            uploads=uploads,
            clock=clock,
        )
        self._task = JobTask(
            author=Author(self.worker_id, registration.incarnation, device, registration.version),
            supervisor=supervisor,
            broker=self._broker,
            outbox=self.outbox,
            spool=spool,
            journals=journals,
            activity=self.activity,
            clock=clock,
            inline_everything=uploads is None,
            on_pause=lambda: self._consumer.take(False),
            on_lost_ability=on_lost_ability,
            clock_warning=clock_warning(registered.clock_offset_s),
        )
        self.heart = Heart(
            broker=self._broker,
            activity=self.activity,
            worker_id=self.worker_id,
            unanswered=spool.keys,
            every_s=settings.heartbeat_s,
            on_cancelled=lambda job: supervisor.stop(*job, "cancelled"),
            on_unknown=on_unknown,
            on_conflict=on_conflict,
            on_back=self._back,
            measured=lambda: {**told(read(settings.cache_dir)), **_cached(settings)},
            services=supervisor.services.listed,
            on_unwanted_service=supervisor.stop_service,
            on_quarantine=lambda quarantined: self._consumer.take(not (quarantined or self._task.rests)),
        )

    def start(self) -> None:
        """Start the parts.

        Raises:
            Untrusted: The broker's certificate is not signed by an authority that this worker knows.
        """
        try:
            self._broker.drop_unacknowledged(self.worker_id)
        except Untrusted:
            raise  # waiting would not help, unlike in an outage
        except Unavailable as error:
            log.debug("%s", error)  # the heartbeat logs it
        self.heart.start()
        self.outbox.start()
        self._consumer.start()

    def _back(self) -> None:
        self._consumer.reconnect()
        self.outbox.hurry()

    def leave(self, *, may_finish: Callable[[], bool]) -> None:
        """Stop in order: take no further job, end the current one, acknowledge its message, deregister.

        Args:
            may_finish: Returns whether the current job may run to its end, however long it takes. It is called every second, because a
                stop may come meanwhile. A job that may not finish is handed back.
        """
        jobs = ", ".join(job_id for job_id, _ in self.activity.snapshot().jobs)
        log.info("stopping%s", f": {'finishing' if may_finish() else 'handing back'} {jobs}" if jobs else "")
        self.activity.stop()
        self._consumer.stop_taking()
        said_at = self._clock.monotonic()
        while may_finish() and not self.activity.wait_idle(FINISH_LOOK_S):
            if self._clock.monotonic() - said_at >= FINISH_SAY_S:
                said_at = self._clock.monotonic()
                log.info("still finishing; a second signal ends it at once")
        self._hand_back()
        self._await_acknowledgement()
        if not self._consumer.close(LOOP_ENDS_WITHIN_S):
            log.warning("the queue reader did not end within %g s", LOOP_ENDS_WITHIN_S)
        self.heart.close()
        try:
            self._broker.deregister(self.worker_id)
        except Unavailable as error:
            log.warning("could not say goodbye (%s); this worker counts as faulty until it is back", error.detail)
        self.outbox.close()
        self._broker.close()

    def _hand_back(self) -> None:
        until = self._clock.monotonic() + HAND_BACK_WITHIN_S
        while jobs := self.activity.snapshot().jobs:
            if self._clock.monotonic() > until:
                names = ", ".join(job_id for job_id, _ in jobs)
                log.error("%s could not be handed back within %g s; the watch will find what is left", names, HAND_BACK_WITHIN_S)
                return
            for job in jobs:
                self._supervisor.stop(*job, "handed_back")
            self.activity.wait_idle(STOP_AGAIN_S)

    def _await_acknowledgement(self) -> None:
        """Wait until Celery has acknowledged the current message. Its loop does so a moment after the task has returned."""
        until = self._clock.monotonic() + ACKNOWLEDGE_WITHIN_S
        try:
            while self._broker.unacknowledged(self.worker_id) and self._clock.monotonic() < until:
                self._clock.sleep(0.05)
        except Unavailable as error:
            log.debug("not acknowledged: %s", error)  # the next start removes the message; its attempt is over


def _cached(settings: WorkerSettings) -> dict[str, list[str]]:
    """Return what the heartbeat says about the models in the cache."""
    keys = keys_of(known_models(settings.cache_dir))
    return {MODELS: keys} if keys or (settings.cache_dir / FOLDER).is_dir() else {}


def _open_spool(settings: WorkerSettings) -> Spool:
    try:
        return Spool(settings.spool_dir)
    except OSError as error:
        raise InvalidInput(
            f"the spool folder {settings.spool_dir} cannot be written ({error.strerror}): "
            "make it writable, or set FLEETMARK_WORKER_SPOOL_DIR to one that is"
        ) from error


def _plain(name: str) -> str:
    """Return a device's name as the first half of a Celery node name, without `@` and spaces."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-") or "device"
