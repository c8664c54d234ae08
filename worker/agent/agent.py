"""The life of a worker: who it is, what it can do, taking jobs, and leaving so that nothing is lost or left behind.

SIGTERM and SIGINT are handled here and nowhere else. The first one ends the worker in order: no further message is
taken; the job in hand is handed back (or finished, with `drain`) and acknowledged while the queue reader still runs;
the worker says goodbye. The second ends the process at once: the guard, whose pipe closes, takes the runners along.
"""

from __future__ import annotations

import logging
import os
import re
import signal
from importlib.metadata import version
from threading import Event, current_thread, main_thread
from types import FrameType
from typing import Any, Protocol
from urllib.parse import urlsplit

from shared.capabilities import worker_queue
from shared.clock import Clock
from shared.errors import Conflict, FleetmarkError, InvalidInput, Unavailable
from shared.ids import new_incarnation
from shared.protocol.messages import Device
from shared.workers import Registration
from worker.activity import Activity, Key
from worker.agent.broker import Broker
from worker.agent.capabilities import offered
from worker.agent.consumer import CeleryConsumer
from worker.agent.heart import Heart
from worker.agent.info import InfoServer, cached_models, describe
from worker.agent.log import masked
from worker.agent.outbox import Outbox
from worker.agent.registration import Registered, explain_conflict, register_by_http, register_in_redis
from worker.agent.uploads import Uploads
from worker.hardware import Hardware, Identity, detect
from worker.hardware.system import own_address
from worker.settings import WorkerSettings
from worker.spool import Spool
from worker.tasks import Author, JobTask, SupervisorPort

log = logging.getLogger(__name__)

EXIT_WELL, EXIT_REFUSED = 0, 2
REGISTER_RETRY_S = (1.0, 2.0, 5.0, 10.0, 30.0)
STOP_AGAIN_S = 0.5  # a job between its claim and its first process is told again
HAND_BACK_WITHIN_S = 60.0
ACKNOWLEDGE_WITHIN_S = 5.0
LOOP_ENDS_WITHIN_S = 15.0


class SupervisorLife(SupervisorPort, Protocol):
    """A supervisor with its lifetime."""

    def start(self) -> None: ...

    def close(self) -> None: ...


class Agent:
    """One worker, from start to exit code."""

    def __init__(self, settings: WorkerSettings, *, supervisor: SupervisorLife, clock: Clock) -> None:
        if settings.host is None and settings.redis_url is None:
            raise InvalidInput("a worker needs one address: --host http://<orchestrator>:5000 (FLEETMARK_HOST), or --redis-url")
        self._settings, self._supervisor, self._clock = settings, supervisor, clock
        self._incarnation = new_incarnation()
        self._version = version("fleetmark")
        self._stop = Event()
        self._signals = 0
        self._refusal = ""  # why this worker must not go on
        self._renamed = False
        self._registered: Registered | None = None
        self._activity = Activity()
        self._broker_away = True

    def run(self) -> int:
        """Work until told to stop.

        Returns:
            0 after an orderly end; 2 when this worker was refused (identity, token), with the reason logged.

        Raises:
            FleetmarkError: it cannot start; the message says what to change.
        """
        self._own_signals()
        identity = self._claim_identity()
        info: InfoServer | None = None
        try:
            self._supervisor.start()  # before any thread: it may fork
            hardware = detect()
            registration = self._registration(hardware, identity)
            info = self._serve_info(hardware)
            while True:
                self._renamed = False
                registered = self._register(registration)
                if registered is None:
                    break
                self._registered = registered
                self._serve(registered, registration, hardware, identity)
                if not self._renamed:
                    break
                self._activity = Activity()
        finally:
            if info is not None:
                info.close()
            self._supervisor.close()
            identity.close()
        if self._refusal:
            log.error("%s", self._refusal)
            return EXIT_REFUSED
        return EXIT_WELL

    # Who, and what for

    def _claim_identity(self) -> Identity:
        folder = self._settings.state_dir
        try:
            return Identity.claim(folder, self._incarnation)
        except OSError as error:
            raise InvalidInput(
                f"the state folder {folder} cannot be written ({error.strerror}): make it writable, or set FLEETMARK_WORKER_STATE_DIR to one that is"
            ) from error

    def _registration(self, hardware: Hardware, identity: Identity) -> Registration:
        settings = self._settings
        capabilities = offered(hardware)
        if not capabilities:
            raise InvalidInput(f"this device can run nothing: {hardware.onnxruntime.note or 'no engine found'} (try: python -m worker.cli validate)")
        address = settings.host or settings.redis_url or ""
        return Registration(
            device_name=settings.device_name,
            ip_address=own_address(urlsplit(address).hostname or ""),
            capabilities=capabilities,
            device_info=hardware.device_info(identity.udid),
            labels=settings.worker_labels,
            incarnation=self._incarnation,
            previous_incarnation=identity.previous_incarnation,
            agent_type=settings.worker_type,
            version=self._version,
            hardware=hardware.for_placement(settings.worker_price_per_hour),
        )

    def _register(self, registration: Registration) -> Registered | None:
        """Register, trying for as long as the other side is away; None when asked to stop first, or refused."""
        tries = 0
        while not self._stop.is_set():
            try:
                registered = self._register_once(registration)
            except Unavailable as error:
                if tries == 0:
                    log.warning("%s; trying again until it answers", masked(error.detail))
                self._stop.wait(REGISTER_RETRY_S[min(tries, len(REGISTER_RETRY_S) - 1)])
                tries += 1
            except FleetmarkError as error:
                self._refuse(error)
            else:
                log.info("%s as %s (%s): %s", registered.action, registered.worker_id, registration.device_name, ", ".join(registration.capabilities))
                return registered
        return None

    def _register_once(self, registration: Registration) -> Registered:
        settings = self._settings
        if settings.host is not None:
            token = settings.token.get_secret_value() if settings.token else None
            return register_by_http(settings.host, token, registration, settings.redis_url)
        if settings.redis_url is None:
            raise InvalidInput("no address")  # refused in __init__
        broker = Broker(settings.redis_url, self._incarnation, settings.heartbeat_timeout_s, self._clock)
        try:
            return register_in_redis(broker, settings.redis_url, registration)
        finally:
            broker.close()

    def _refuse(self, error: FleetmarkError) -> None:
        settings = self._settings
        known = isinstance(error, Conflict)
        self._refusal = explain_conflict(error, settings.state_dir, settings.heartbeat_timeout_s) if known else error.detail
        self._stop.set()

    # Work

    def _serve(self, registered: Registered, registration: Registration, hardware: Hardware, identity: Identity) -> None:
        settings, worker_id = self._settings, registered.worker_id
        broker = Broker(registered.broker_url, self._incarnation, settings.heartbeat_timeout_s, self._clock)
        spool = self._open_spool()
        device = Device(
            name=settings.device_name, soc=hardware.soc(), ram_gb=hardware.ram_gb(), os=hardware.system.os, udid=identity.udid, labels=settings.worker_labels
        )  # fmt: skip
        token = settings.token.get_secret_value() if settings.token else None
        uploads = Uploads(settings.host, token) if settings.host else None
        task: JobTask
        consumer = CeleryConsumer(
            broker_url=registered.broker_url,
            worker_id=worker_id,
            queues=(*registration.capabilities, worker_queue(worker_id)),
            nodename=f"{_plain(settings.device_name)}@{worker_id}",
            handle=lambda args, kwargs: task(args, kwargs),
            dead_letter=broker.dead_letter,
            clock=self._clock,
        )
        outbox = Outbox(app=consumer.app, worker_id=worker_id, broker=broker, spool=spool, uploads=uploads, clock=self._clock)
        task = JobTask(
            author=Author(worker_id, self._incarnation, device, self._version),
            supervisor=self._supervisor,
            broker=broker,
            outbox=outbox,
            spool=spool,
            activity=self._activity,
            clock=self._clock,
            inline_everything=uploads is None,
        )

        def back() -> None:
            self._broker_away = False
            outbox.hurry()

        heart = Heart(
            broker=broker,
            activity=self._activity,
            worker_id=lambda: worker_id,
            unanswered=outbox.pending,
            every_s=settings.heartbeat_s,
            on_cancelled=lambda job: self._supervisor.stop(*job, "cancelled"),
            on_unknown=lambda: self._register_again(registration, worker_id, outbox),
            on_conflict=self._lost_identity,
            on_away=self._note_away,
            on_back=back,
        )
        self._broker_away = False
        try:
            broker.drop_unacknowledged(worker_id)
        except Unavailable as error:
            log.debug("%s", error)
        heart.start()
        outbox.start()
        consumer.start()
        while not self._stop.wait(1.0):
            pass
        self._leave(consumer, broker, worker_id)
        heart.close()
        self._say_goodbye(broker, worker_id)
        outbox.close()
        broker.close()

    def _open_spool(self) -> Spool:
        try:
            return Spool(self._settings.spool_dir)
        except OSError as error:
            raise InvalidInput(
                f"the spool folder {self._settings.spool_dir} cannot be written ({error.strerror}): make it writable, or set FLEETMARK_WORKER_SPOOL_DIR"
            ) from error

    def _note_away(self) -> None:
        self._broker_away = True

    def _register_again(self, registration: Registration, worker_id: str, outbox: Outbox) -> None:
        try:
            # The process before this one is no matter any more, and a clone might name it, too.
            registered = self._register_once(registration.model_copy(update={"previous_incarnation": ""}))
        except Unavailable:
            raise
        except FleetmarkError as error:
            self._refuse(error)
            return
        if registered.worker_id != worker_id:
            log.warning("registered anew as %s; finishing what is in hand as %s first", registered.worker_id, worker_id)
            self._renamed = True
            self._stop.set()
        outbox.hurry()

    def _lost_identity(self) -> None:
        self._refuse(Conflict("another process has registered as this device, and speaks for it now"))

    # Leaving

    def _own_signals(self) -> None:
        if current_thread() is not main_thread():
            return  # embedded in another program, which owns the signals and calls `stop`
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature that signal handlers have
        self._signals += 1
        if self._signals > 1:
            os._exit(128 + number)  # no cleanup on purpose: the guard ends the runners when our pipe closes
        self._stop.set()

    def stop(self) -> None:
        """End in order, as on SIGTERM."""
        self._stop.set()

    def _leave(self, consumer: CeleryConsumer, broker: Broker, worker_id: str) -> None:
        finish = (self._settings.worker_drain or self._renamed) and not self._refusal
        activity = self._activity
        job: Key | None = activity.snapshot().job
        log.info("stopping%s", f": {'finishing' if finish else 'handing back'} {job[0]}" if job else "")
        activity.stop()
        consumer.stop_taking()
        if finish:
            while not activity.wait_idle(60):
                log.info("still finishing; a second signal ends it at once")
        else:
            self._hand_back()
        self._await_acknowledgement(broker, worker_id)
        if not consumer.close(LOOP_ENDS_WITHIN_S):
            log.warning("the queue reader did not end within %g s", LOOP_ENDS_WITHIN_S)

    def _hand_back(self) -> None:
        until = self._clock.monotonic() + HAND_BACK_WITHIN_S
        while (job := self._activity.snapshot().job) is not None:
            if self._clock.monotonic() > until:
                log.error("%s could not be handed back within %g s; the watch will find it", job[0], HAND_BACK_WITHIN_S)
                return
            self._supervisor.stop(*job, "handed_back")
            self._activity.wait_idle(STOP_AGAIN_S)

    def _await_acknowledgement(self, broker: Broker, worker_id: str) -> None:
        """Celery acknowledges in its loop, a moment after the task has returned."""
        until = self._clock.monotonic() + ACKNOWLEDGE_WITHIN_S
        try:
            while broker.unacknowledged(worker_id) and self._clock.monotonic() < until:
                self._clock.sleep(0.05)
        except Unavailable as error:
            log.debug("not acknowledged: %s", error)  # the claim is released and the attempt over: the watch sees to it

    def _say_goodbye(self, broker: Broker, worker_id: str) -> None:
        try:
            broker.deregister(worker_id)
        except Unavailable as error:
            log.warning("could not say goodbye (%s); this worker counts as faulty until it is back", error.detail)

    # The info server

    def _serve_info(self, hardware: Hardware) -> InfoServer | None:
        settings = self._settings
        if settings.worker_port == 0:
            return None
        try:
            server = InfoServer(settings.worker_host, settings.worker_port, info=lambda: self._info(hardware), health=self._health)
        except OSError as error:
            raise InvalidInput(
                f"the info server cannot listen on {settings.worker_host}:{settings.worker_port} ({error.strerror}): another worker on this host? "
                "Choose another port with --http-port (FLEETMARK_WORKER_PORT), or 0 for none"
            ) from error
        log.info("info at %s/api/v1/info", server.address)
        return server

    def _info(self, hardware: Hardware) -> dict[str, Any]:
        settings = self._settings
        return describe(
            hardware,
            agent_id=self._registered.worker_id if self._registered else "",
            agent_type=settings.worker_type,
            device_name=settings.device_name,
            models=cached_models(settings.cache_dir),
            version=self._version,
        )

    def _health(self) -> dict[str, Any]:
        now = self._activity.snapshot()
        registered = self._registered is not None
        return {
            "status": "healthy" if registered and not self._broker_away else "degraded",
            "agent_id": self._registered.worker_id if self._registered else "",
            "registered": registered,
            "broker_connected": not self._broker_away,
            "worker_status": now.status,
            "current_job": now.job[0] if now.job else None,
            "stage": now.stage,
            "progress": now.progress,
            "timestamp": self._clock.now().isoformat(),
        }


def _plain(name: str) -> str:
    """A device's name as the first half of a Celery node name: no `@`, no space."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-") or "device"
