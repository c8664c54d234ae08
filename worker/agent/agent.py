"""Runs the life of a worker: it registers, takes jobs, and stops in such a way that nothing is lost or left behind.

SIGTERM and SIGINT are handled only here. The first signal stops the worker in order. It takes no further message. The current job is
handed back (or finished, with `drain`) and its message is acknowledged while the queue reader still runs. Then the worker
deregisters. The second signal ends the process at once; the guard, whose pipe closes, then kills the measured processes.
"""

from __future__ import annotations

import logging
import os
import signal
from functools import partial
from importlib.metadata import version
from threading import Event, Thread, current_thread, main_thread
from types import FrameType
from urllib.parse import urlsplit

from shared.clock import Clock, clock_warning
from shared.errors import Conflict, FleetmarkError, IdentityInUse, InvalidInput, Unavailable
from shared.ids import new_incarnation
from shared.installation import how_to_call
from shared.jobs import MAX_BLOCK
from shared.log import of_this_process
from shared.protocol.messages import Device
from shared.tls import Untrusted
from shared.workers import Registration
from worker.access import ACCESS
from worker.agent.abilities import abilities, without_lost_servers
from worker.agent.broker import Broker
from worker.agent.capabilities import offered, takes_models
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
REGISTER_RETRY_S = (1.0, 2.0, 5.0, 10.0)  # seconds between the tries; a restarted orchestrator has its workers back this soon
CONTEST_RETRY_S = 1.0


class Agent:
    """Runs one worker from its start to its exit code."""

    def __init__(self, settings: WorkerSettings, *, supervisor: SupervisorLife, clock: Clock) -> None:
        """Prepare the worker.

        Raises:
            InvalidInput: Neither an orchestrator nor a broker is named.
        """
        if settings.host is None and settings.redis_url is None:
            raise InvalidInput("a worker needs one address: --host http://<orchestrator>:5000 (FLEETMARK_HOST), or --redis-url")
        self._settings, self._supervisor, self._clock = settings, supervisor, clock
        self._incarnation = new_incarnation()
        self._version = version("fleetmark")
        self._stop = Event()  # set when this worker was asked to stop or must stop; never cleared
        self._signals = 0
        self._refusal = ""  # why this worker must stop
        self._renamed = Event()  # the registry gave this device another id; use it when the current job has ended
        self._contested_at: float | None = None  # the monotonic time since which another process is reported to be this device
        self._serving: Serving | None = None
        self._offer: Registration  # what this worker registers with

    def run(self) -> int:
        """Work until told to stop.

        Returns:
            0 after an orderly stop. 2 if this worker was refused (identity, token); the reason is logged.

        Raises:
            FleetmarkError: The worker cannot start. The message says what to change.
        """
        self._own_signals()
        identity = self._claim_identity()
        info: InfoServer | None = None
        try:
            self._supervisor.start()  # before any thread is started, because it may fork
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
        """Stop in order, as on SIGTERM."""
        self._stop.set()

    def _work(self, registration: Registration, hardware: Hardware, identity: Identity) -> None:
        """Register and serve. Do both again each time the registry gives this device another id."""
        settings = self._settings
        device = Device(
            name=settings.device_name,
            soc=hardware.soc(),
            ram_gb=hardware.ram_gb(),
            os=hardware.system.os,
            udid=identity.udid,
            labels=settings.worker_labels,
            price_per_hour=settings.worker_price_per_hour,
        )
        self._offer = registration
        while (registered := self._register(self._offer)) is not None:
            self._renamed.clear()
            worker_id = registered.worker_id
            of_this_process(worker_id=worker_id)
            serving = Serving(
                settings,
                registered,
                registered.known_of(registration),
                device=device,
                supervisor=self._supervisor,
                clock=self._clock,
                on_unknown=partial(self._register_again, worker_id),
                on_conflict=partial(self._register_again, worker_id),
                on_lost_ability=partial(self._offer_what_is_left, worker_id),
            )
            self._serving = serving
            serving.start()
            while not (self._stop.wait(1.0) or self._renamed.is_set()):  # Windows does not deliver Ctrl-C in an endless wait
                pass
            serving.leave(may_finish=self._may_finish)

    def _may_finish(self) -> bool:
        """Return whether the current job may run to its end. Called repeatedly: a stop may come while a renamed worker finishes a job."""
        if self._refusal:
            return False
        return self._settings.worker_drain or not self._stop.is_set()

    # These methods are about identity and registration.

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
        access = ACCESS[settings.worker_type]
        capabilities = offered(hardware, access)
        if not capabilities:
            reason = hardware.onnxruntime.note or "no engine found"
            raise InvalidInput(f"this device can run nothing: {reason} (to see more: {how_to_call('worker validate')})")
        if access.sees_device and not any(map(takes_models, capabilities)):
            reason = hardware.onnxruntime.note or "no engine is installed"
            log.warning("this device runs no models: %s (to see more: %s)", reason, how_to_call("worker validate"))
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
            max_block=MAX_BLOCK,
            hardware={**hardware.for_placement(settings.worker_price_per_hour), **abilities(hardware, capabilities, access)},
        )

    def _register(self, registration: Registration) -> Registered | None:
        """Register, and keep trying while the other side is away. Returns None if the worker is asked to stop first, or is refused."""
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
                offer = ", ".join(name for name in registration.capabilities if name not in registered.left_out)
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
        url = settings.redis_url or ""  # `__init__` has checked that one of the two is given
        broker = Broker(Login(url, settings.ca_file), self._incarnation, settings.heartbeat_timeout_s)
        try:
            return register_in_redis(broker, url, registration, self._clock)
        finally:
            broker.close()

    def _offer_what_is_left(self, worker_id: str) -> None:
        """Register anew if this device can start other servers than before. If this fails, the next failed job tries it again."""
        before, self._offer = self._offer, without_lost_servers(self._offer)
        if self._offer is before:
            return
        try:
            self._register_again(worker_id)
        except Unavailable as error:
            self._offer = before
            log.warning("this could not be told, and others still send jobs for what is gone: %s", error.detail)

    def _register_again(self, worker_id: str) -> None:
        """Register again after Redis has lost its data, a part of it, or our login, or with another offer.

        Raises:
            Unavailable: This must be tried again.
        """
        registration = self._offer
        if self._renamed.is_set():
            return  # the new id is known already and is used when the current job has ended
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
        """Handle the report that another process uses this device's identity. Refuse only if this lasts longer than a heartbeat timeout.

        The other process may be one of ours that died a moment ago. Or Redis was restored without its latest data, and knows an earlier
        process of this worker.
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

    # These methods are about signals and health.

    def _own_signals(self) -> None:
        if current_thread() is not main_thread():
            return  # embedded in another program, which handles the signals and calls `stop`
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals > 1:
            os._exit(128 + number)  # no cleanup, on purpose: the guard kills its runners when our pipe closes
        # This is done in another thread, because this one may be inside `wait` and hold the event's lock.
        Thread(target=self._stop.set, name="stop").start()

    def _vitals(self) -> Vitals:
        serving = self._serving
        if serving is None:
            return Vitals(at=self._clock.now())
        return Vitals(serving.worker_id, not serving.heart.away, serving.activity.snapshot(), self._clock.now())
