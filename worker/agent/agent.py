"""The life of a worker: who it is, what it can do, taking jobs, and leaving so that nothing is lost or left behind.

SIGTERM and SIGINT are handled here and nowhere else. The first one ends the worker in order: no further message is
taken; the job in hand is handed back (or finished, with `drain`) and acknowledged while the queue reader still runs;
the worker says goodbye. The second ends the process at once: the guard, whose pipe closes, takes the runners along.
"""

from __future__ import annotations

import logging
import os
import signal
from importlib.metadata import version
from threading import Event, Thread, current_thread, main_thread
from types import FrameType
from urllib.parse import urlsplit

from shared.clock import Clock
from shared.errors import Conflict, FleetmarkError, IdentityInUse, InvalidInput, Unavailable
from shared.ids import new_incarnation
from shared.protocol.messages import Device
from shared.tls import Untrusted
from shared.workers import Registration, clock_warning
from worker.agent.broker import Broker
from worker.agent.capabilities import offered
from worker.agent.info import InfoServer, Vitals, open_info_server
from worker.agent.log import masked
from worker.agent.login import Login
from worker.agent.registration import Registered, explain_conflict, register_by_http, register_in_redis
from worker.agent.serving import Serving, SupervisorLife
from worker.hardware import Hardware, Identity, detect
from worker.hardware.system import own_address
from worker.settings import WorkerSettings

log = logging.getLogger(__name__)

EXIT_WELL, EXIT_REFUSED = 0, 2
REGISTER_RETRY_S = (1.0, 2.0, 5.0, 10.0)  # an orchestrator that was restarted has its fleet back as soon
CONTEST_RETRY_S = 1.0


class Agent:
    """One worker, from start to exit code."""

    def __init__(self, settings: WorkerSettings, *, supervisor: SupervisorLife, clock: Clock) -> None:
        """
        Raises:
            InvalidInput: neither an orchestrator nor a broker is named.
        """
        if settings.host is None and settings.redis_url is None:
            raise InvalidInput("a worker needs one address: --host http://<orchestrator>:5000 (FLEETMARK_HOST), or --redis-url")
        self._settings, self._supervisor, self._clock = settings, supervisor, clock
        self._incarnation = new_incarnation()
        self._version = version("fleetmark")
        self._stop = Event()  # this worker was asked to end, or must; never taken back
        self._signals = 0
        self._refusal = ""  # why this worker must not go on
        self._renamed = Event()  # the registry gave this device another id: serve under it, after what is in hand
        self._contested_at: float | None = None  # monotonic; since when another process is said to be this device
        self._serving: Serving | None = None

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
            info = open_info_server(self._settings, hardware, self._vitals, self._version)
            self._work(registration, hardware, identity)
        finally:
            if info is not None:
                info.close()
            self._supervisor.close()
            identity.close()
        if self._refusal:
            log.error("%s", self._refusal)
            return EXIT_REFUSED
        return EXIT_WELL

    def stop(self) -> None:
        """End in order, as on SIGTERM."""
        self._stop.set()

    def _work(self, registration: Registration, hardware: Hardware, identity: Identity) -> None:
        """Register and serve; once more from there should the registry give this device another id."""
        settings = self._settings
        device = Device(
            name=settings.device_name,
            soc=hardware.soc(),
            ram_gb=hardware.ram_gb(),
            os=hardware.system.os,
            udid=identity.udid,
            labels=settings.worker_labels,
        )
        while (registered := self._register(registration)) is not None:
            self._renamed.clear()
            worker_id = registered.worker_id
            serving = Serving(
                settings,
                registered,
                registration,
                device=device,
                supervisor=self._supervisor,
                clock=self._clock,
                on_unknown=lambda known=worker_id: self._register_again(registration, known),  # type: ignore[misc]  # a default binds the id
                on_conflict=lambda known=worker_id: self._register_again(registration, known),  # type: ignore[misc]  # as above
            )
            self._serving = serving
            serving.start()
            while not (self._stop.wait(1.0) or self._renamed.is_set()):  # a wait without end would not let Windows deliver Ctrl-C
                pass
            serving.leave(may_finish=self._may_finish)

    def _may_finish(self) -> bool:
        """Whether the job in hand may run to its end. Asked again and again: a stop may come while a renamed worker finishes."""
        if self._refusal:
            return False
        return self._settings.worker_drain or not self._stop.is_set()

    # Who, and what for

    def _claim_identity(self) -> Identity:
        folder = self._settings.state_dir
        try:
            return Identity.claim(folder, self._incarnation)
        except OSError as error:
            raise InvalidInput(
                f"the state folder {folder} cannot be written ({error.strerror}): "
                "make it writable, or set FLEETMARK_WORKER_STATE_DIR to one that is"
            ) from error

    def _registration(self, hardware: Hardware, identity: Identity) -> Registration:
        settings = self._settings
        capabilities = offered(hardware)
        if not capabilities:
            reason = hardware.onnxruntime.note or "no engine found"
            raise InvalidInput(f"this device can run nothing: {reason} (to see more: python -m worker.cli validate)")
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
        tries, said = 0, ""
        while not self._stop.is_set():
            try:
                registered = self._register_once(registration)
            except Untrusted as error:
                self._refuse(error)
            except Unavailable as error:
                if error.detail != said:
                    log.warning("%s; trying again until it answers", masked(error.detail))
                said = error.detail
                self._stop.wait(REGISTER_RETRY_S[min(tries, len(REGISTER_RETRY_S) - 1)])
                tries += 1
            except IdentityInUse as error:
                self._contested(error)
                self._stop.wait(CONTEST_RETRY_S)
            except FleetmarkError as error:
                self._refuse(error)
            else:
                self._contested_at = None
                offer = ", ".join(registration.capabilities)
                log.info("%s as %s (%s): %s", registered.action, registered.worker_id, registration.device_name, offer)
                if warning := clock_warning(registered.clock_offset_s):
                    log.warning("%s", warning)
                return registered
        return None

    def _register_once(self, registration: Registration) -> Registered:
        settings = self._settings
        if settings.host is not None:
            token = settings.token.get_secret_value() if settings.token else None
            return register_by_http(settings.host, token, registration, settings.redis_url, settings.ca_file, clock=self._clock)
        url = settings.redis_url or ""  # one of the two is there: __init__ sees to it
        broker = Broker(Login(url, settings.ca_file), self._incarnation, settings.heartbeat_timeout_s)
        try:
            return register_in_redis(broker, url, registration, self._clock)
        finally:
            broker.close()

    def _register_again(self, registration: Registration, worker_id: str) -> None:
        """After Redis lost its memory, the last of it, or our login. Raises `Unavailable` when that has to be tried again."""
        if self._renamed.is_set():
            return  # the next name is known, and is taken up when the job in hand has ended
        try:
            registered = self._register_once(registration)
        except Unavailable:
            raise
        except IdentityInUse as error:
            self._contested(error)
            return
        except FleetmarkError as error:
            self._refuse(error)
            return
        self._contested_at = None
        if registered.worker_id != worker_id:
            log.warning("registered anew as %s; finishing what is in hand as %s first", registered.worker_id, worker_id)
            self._renamed.set()
        elif self._serving is not None:
            self._serving.login.renew(registered.broker_url, registered.report_key)
            self._serving.outbox.hurry()

    def _contested(self, error: IdentityInUse) -> None:
        """Another process is said to speak for this device: refuse, but not before it has proved by a beat that it lives.

        It may be one of ours that died a moment ago, and this one its second successor; or Redis came back without the
        last it was told, and knows a predecessor.
        """
        now = self._clock.monotonic()
        patience_s = self._settings.heartbeat_timeout_s + CONTEST_RETRY_S
        if self._contested_at is None:
            self._contested_at = now
            log.warning("%s; looking for %g s whether it really lives", error.detail, patience_s)
        elif now - self._contested_at > patience_s:
            self._refuse(error)

    def _refuse(self, error: FleetmarkError) -> None:
        settings = self._settings
        self._refusal = error.detail
        if isinstance(error, Conflict):
            self._refusal = explain_conflict(error, settings.state_dir, settings.heartbeat_timeout_s)
        self._stop.set()

    # Signals and vitals

    def _own_signals(self) -> None:
        if current_thread() is not main_thread():
            return  # embedded in another program, which owns the signals and calls `stop`
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals > 1:
            os._exit(128 + number)  # no cleanup on purpose: the guard ends the runners when our pipe closes
        # From another thread: this one may hold the event's own lock, in the middle of a wait.
        Thread(target=self._stop.set, name="stop").start()

    def _vitals(self) -> Vitals:
        serving = self._serving
        if serving is None:
            return Vitals(at=self._clock.now())
        return Vitals(serving.worker_id, not serving.heart.away, serving.activity.snapshot(), self._clock.now())
