"""Starts and ends the service that a job puts under load. A job whose service runs already only has its address."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from typing import Any

import psutil

from shared.clock import Clock
from shared.errors import EngineUnavailable, JobError
from shared.kinds.load import LoadSpec
from shared.masking import without_logins
from shared.protocol.messages import Assignment
from shared.targets import Existing, Launched
from shared.workloads import Workload, spec_as
from worker.job_log import JobLog
from worker.launchers.base import Server
from worker.launchers.registry import resolve as launcher_named
from worker.launchers.running import RunningService, RunningServices
from worker.load.open_files import check_connections
from worker.plug_ins import MISTAKES, BrokenPlugIn
from worker.services.base import NotHealthy, Place
from worker.services.programs import BrokenProgram
from worker.services.registry import resolve as service_named
from worker.services.registry import startable
from worker.supervisor.deaths import with_output
from worker.supervisor.kept_services import CampaignServer, KeptServices
from worker.supervisor.service_place import NOBODY, is_root, own_folder, port_for
from worker.supervisor.telemetry import WatchedService

LOOK_S = 0.05
LOOK_AT_MOST_S = 0.5
CAMPAIGN_CONNECTIONS = 1_000  # the server of a campaign does not know how many its later jobs open
SHORTEST_TIMEOUT_S = 0.1
SAMPLED = ("db_name", "user", "server_metrics_url", "metrics_port")  # settings that say where a service tells its statistics


class ServiceFailed(JobError):
    kind = "service_failed"


class ServiceOfJob:
    """Holds the service of one attempt. Without a target, it does nothing.

    Args:
        on_stage: Called with what is being done.
        check_stop: Raises when the attempt must stop.
    """

    def __init__(
        self,
        assignment: Assignment,
        *,
        running: RunningServices,
        kept: KeptServices,
        clock: Clock,
        job_log: JobLog,
        on_stage: Callable[[str], None],
        check_stop: Callable[[], None],
    ) -> None:
        self._workload: Workload = assignment.workload
        self._job = assignment.job_id
        self._id = f"{assignment.job_id}.{assignment.attempt}"
        self._campaign_id = assignment.campaign_id
        self._running, self._kept, self._clock, self._log = running, kept, clock, job_log
        self._on_stage, self._check_stop = on_stage, check_stop
        self._server: Server | None = None
        self._port = 0
        self._cpu_before_s = 0.0
        self._restarted = 0
        self._reused = False
        self._started_for = 0  # connections
        self._version = ""
        self._starts_ms: list[float] = []
        self._counted: list[dict[str, Any]] = []
        self._last = ""
        self._health: dict[str, Any] | None = None
        self.cpu_s = 0.0
        """The CPU time of the servers that have ended or were looked at, while load was sent."""

    @property
    def _launched(self) -> Launched | None:
        target = self._workload.target
        return target if isinstance(target, Launched) else None

    @property
    def _spec(self) -> LoadSpec:
        return spec_as(self._workload, LoadSpec)

    def check(self) -> None:
        """Check that the service can be started on this device, and its clients too, before the job waits for anything.

        Raises:
            JobError: It cannot.
        """
        if self._workload.target is not None:
            check_connections(self._spec.concurrent_clients, self._spec.num_clients, with_server=self._launched is not None)
        if self._launched is not None:
            service = service_named(self._launched.service)
            if self._launched.launcher != "container":  # the program and the folders of a container are not those of the device
                service.check(self._spec.service.settings)
            try:
                self._version = launcher_named(self._launched.launcher).check(service, self._launched.settings)
            except EngineUnavailable as error:
                gone = self._launched.launcher != "container" and not isinstance(error, BrokenProgram)
                if not gone or self._launched.service not in startable():
                    raise
                had = startable()[self._launched.service]
                raise EngineUnavailable(f"{error.detail} ({had} was there before; this worker now offers it no longer)") from error

    def ready(self, ends_at: float) -> str:
        """Return the address of the service. A service that does not run is started, and this returns when it is healthy.

        Args:
            ends_at: When the time of the job is over, on the monotonic clock.

        Raises:
            JobError: It did not become healthy, or the attempt was stopped.
        """
        target = self._workload.target
        if isinstance(target, Existing):
            return target.address
        if target is None:
            return ""
        if self._server is not None and not self._server.alive:
            self._use_restart("ended")
        if self._server is None and target.fresh == "campaign":
            self._take_over()
        while self._server is None:
            try:
                self._start(target, ends_at)
            except NotHealthy as error:
                self._last = str(error)
                self._use_restart("did not become healthy")
            except BaseException:
                self.end()
                raise
        self._cpu_before_s = self._cpu_of_tree()
        self._count("before")
        return service_named(target.service).address(self._spec.service.settings, self._port)

    def watched(self, address: str) -> WatchedService | None:
        """Return what telemetry must know of the service at this address. None for a job without one."""
        if self._workload.target is None:
            return None
        settings = self._spec.client.settings
        if self._launched is not None:
            settings = self._spec.service.settings | settings
        return WatchedService(self._spec.service.type, address, {name: settings[name] for name in SAMPLED if settings.get(name)})

    def died(self) -> bool:
        """Return whether the service that was started has ended."""
        return self._server is not None and not self._server.alive

    def check_alive(self) -> None:
        """Check that the service still runs, while something is measured.

        Raises:
            ServiceFailed: The service that was started has ended.
        """
        if self.died():
            raise ServiceFailed(self.last_words())

    def may_restart(self) -> bool:
        return self._launched is not None and self._restarted < self._launched.restarts

    def last_words(self) -> str:
        """Return how the service ended, with what it said last."""
        assert self._server is not None
        return with_output(f"the service {self._spec.service.type} ended (exit code {self._server.exit_code})", self._server.output())

    def measured(self) -> None:
        """Take note that one measured process has ended. A service that is fresh for each repeat ends here."""
        if self._launched is None or self._server is None:
            return
        self.cpu_s += max(0.0, self._cpu_of_tree() - self._cpu_before_s)
        self._count("after")
        self._check_health()
        if self._launched.fresh == "repeat":
            self.end()

    def end(self) -> str:
        """End the server, and delete the folder that was made for it. Return what it wrote last."""
        if self._server is None:
            return ""
        server, self._server = self._server, None
        server.stop()
        self._running.remove(self._id)
        return server.output()

    def leave(self) -> None:
        """End the server, unless it serves the next job of the campaign. Call this when everything was measured."""
        if self._server is None or self._launched is None:
            return
        if self._launched.fresh != "campaign" or not self._server.alive:
            self.end()
            return
        server, self._server = self._server, None
        self._kept.keep(CampaignServer(self._campaign_id, self._asked, self._started_for, self._id, self._port, server))

    def facts(self) -> dict[str, Any]:
        """Return what reports show of the service."""
        target = self._launched
        if target is None:
            return {}
        return {
            "version": self._version,
            "launcher": target.launcher,
            "fresh": target.fresh,
            "reused": self._reused,
            "starts_ms": self._starts_ms,
            "restarts": self._restarted,
            "counters": self._counted,
            "health": self._health,
        }

    # Starting

    @property
    def _connections(self) -> int:
        return self._spec.num_clients * self._spec.concurrent_clients

    @property
    def _asked(self) -> str:
        """Return what the server is started with, as text."""
        assert self._launched is not None
        asked = {"target": self._launched.model_dump(mode="json"), "settings": self._spec.service.settings}
        return json.dumps(asked, sort_keys=True)

    def _take_over(self) -> None:
        """Use the server of the campaign's last job, if it is healthy."""
        assert self._launched is not None
        found = self._kept.take(self._campaign_id, self._asked, self._connections)
        if found is None:
            return
        self._running.given(found.id, self._id, self._job)
        self._server, self._port, self._started_for, self._reused = found.server, found.port, found.connections, True
        self._check_health()
        if self._health is not None and not self._health["ok"]:
            self._log.add(
                "warning", "infrastructure", f"the server of the campaign is not healthy, and is replaced: {self._health['said']}"
            )
            self._reused = False
            self.end()
            return
        self._log.add("info", "infrastructure", f"the server of the campaign on port {self._port} is used again")

    def _use_restart(self, why: str) -> None:
        """Take note that the server ended or is not healthy, and end it.

        Raises:
            ServiceFailed: It was started again as often as the recipe allows.
        """
        assert self._launched is not None
        code = self._server.exit_code if self._server is not None else None
        output = self.end()
        how = f"{why}{f' (exit code {code})' if code is not None else ''}{f': {self._last}' if self._last else ''}"
        if not self.may_restart():
            tries = f" in any of {self._restarted + 1} starts" if self._restarted and why != "ended" else ""
            raise ServiceFailed(with_output(f"the service {self._spec.service.type} {how}{tries}", output))
        self._restarted += 1
        self._log.add("warning", "application", with_output(f"the service {self._spec.service.type} {how}; it is started again", output))

    def _start(self, target: Launched, ends_at: float) -> None:
        service, settings = service_named(target.service), self._spec.service.settings
        self._port = port_for(settings.get("port") or settings.get("http_port"))
        user = NOBODY if service.needs_other_user and target.launcher == "process" and is_root() else None
        folder = own_folder(service.data_parent(settings), user)
        of_campaign = target.fresh == "campaign"
        self._started_for, self._reused = max(self._connections, CAMPAIGN_CONNECTIONS if of_campaign else 0), False
        place = Place(self._port, folder, self._started_for, user)
        self._on_stage(f"starting {target.service}")
        begin = self._clock.monotonic()
        try:
            self._server = launcher_named(target.launcher).start(service, settings, place, target.settings)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        address, at = without_logins(service.address(settings, self._port)), self._clock.now().timestamp()
        self._running.add(RunningService(self._id, target.service, address, self._job, target.launcher, self._version, at))
        patience = min(begin + target.health_timeout_s, ends_at)
        wait_s = LOOK_S
        while True:
            self._check_stop()
            if not self._server.alive:
                self._last = ""
                raise NotHealthy("it ended before it was healthy")
            try:
                self._ask_health()
                break
            except NotHealthy as error:
                if self._clock.monotonic() >= patience:
                    waited = self._clock.monotonic() - begin
                    raise NotHealthy(f"its health check failed for {waited:.1f} s; last: {error}") from error
            self._clock.sleep(wait_s)
            wait_s = min(2 * wait_s, LOOK_AT_MOST_S)
        took_ms = (self._clock.monotonic() - begin) * 1e3
        self._starts_ms.append(took_ms)
        self._running.change(self._id, "healthy")
        self._log.add("info", "infrastructure", f"{self._version} is healthy on port {self._port} after {took_ms:.0f} ms")
        self._leave_alone(self._spec.warmup_delay_s)

    def _leave_alone(self, seconds: float) -> None:
        end = self._clock.monotonic() + seconds
        if seconds:
            self._on_stage("waiting for the service to warm up")
        while (left := end - self._clock.monotonic()) > 0:
            self._check_stop()
            self._clock.sleep(min(left, LOOK_AT_MOST_S))

    # Looking

    def _count(self, when: str) -> None:
        if self._launched is not None and self._server is not None:
            found = service_named(self._launched.service).metrics(self._spec.service.settings, self._port)
            self._counted.append({"when": when, **found})

    def _check_health(self) -> None:
        said = ""
        try:
            self._ask_health()
        except NotHealthy as error:
            said = str(error)
        self._health = {"ok": not said, "checked_at": self._clock.now().isoformat(timespec="milliseconds"), "said": said or None}

    def _ask_health(self) -> None:
        """Ask the server for its health.

        Raises:
            NotHealthy: It is not healthy, or not yet.
            BrokenPlugIn: The health check has a mistake.
        """
        assert self._launched is not None
        try:
            service_named(self._launched.service).health(self._spec.service.settings, self._port)
        except MISTAKES as error:
            said = f"the health check of {self._launched.service} has a mistake: {type(error).__name__}: {error}"
            raise BrokenPlugIn(said) from error

    def _cpu_of_tree(self) -> float:
        """Return the CPU time of the server and its children so far, in seconds. 0 if it cannot be read."""
        if self._server is None:
            return 0.0
        total = 0.0
        with contextlib.suppress(psutil.Error):
            for process in psutil.Process(self._server.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    times = process.cpu_times()
                    total += times.user + times.system + getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
        return total
