"""Runs the fresh processes of one attempt, one at a time. A process that stood still is run again."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from shared.clock import Clock
from shared.errors import DeviceFailed, EngineUnavailable, JobError, ModelInvalid, ModelUnavailable
from shared.protocol.messages import Assignment
from worker.job_log import JobLog
from worker.kinds.base import Repeat
from worker.kinds.registry import entry_of
from worker.measured.request import RunRequest
from worker.models import FetchedModel
from worker.supervisor.deaths import software_of
from worker.supervisor.guard_process import GuardProcess
from worker.supervisor.outcome import Stopped
from worker.supervisor.process_run import ProcessRun, Ran, TimeLimit
from worker.supervisor.repeats import most_repeats
from worker.supervisor.service import ServiceFailed, ServiceOfJob
from worker.supervisor.telemetry import Telemetry

_numbers = itertools.count(1)  # numbers for the record files of this process

TRIES = 3  # how often a repeat is tried whose process stands still

OnPhase = Callable[[str, int, str, bool], None]
_ERRORS: dict[str, type[JobError]] = {kind.kind: kind for kind in (ModelUnavailable, ModelInvalid, EngineUnavailable, DeviceFailed)}


class Processes:
    """Runs the processes of one attempt, as described at the top of this module.

    Attributes:
        limit: The time limit of the attempt. Between two visits, its `ends_at` is out of date.
        cpu_s: The CPU time of all processes so far.
        voided: How many processes stood still, so that their records were discarded.
        stood_still_s: For how long they stood still.
        lost_s: How long they ran.
        interrupted: What the processes had measured that were ended early, in order of time.
    """

    def __init__(
        self,
        assignment: Assignment,
        inputs: Mapping[str, FetchedModel],
        service: ServiceOfJob,
        *,
        inbox: SimpleQueue[Any],
        guard: Callable[[], GuardProcess],
        next_event: Callable[[float | None], Any],
        clock: Clock,
        on_phase: OnPhase,
        on_tick: Callable[[], None],
        job_log: JobLog,
        telemetry: Telemetry,
    ) -> None:
        """Set up. Nothing is started yet.

        Args:
            inputs: By their roles. They may be fetched later.
            service: What the job puts under load, if it does.
            on_phase: Called with what runs, such as `repeat 1 of 2`, its index, its phase, and whether it only loads.
            on_tick: Called now and then while a process measures.
        """
        self._assignment, self._workload, self._inputs = assignment, assignment.workload, inputs
        self._service = service
        self._inbox, self._guard, self._next_event, self._clock = inbox, guard, next_event, clock
        self._on_phase, self._on_tick, self._log, self._telemetry = on_phase, on_tick, job_log, telemetry
        self.limit = TimeLimit(self._workload.timeout_s, math.inf)
        self.cpu_s = 0.0
        self.voided, self.stood_still_s, self.lost_s = 0, 0.0, 0.0
        self.interrupted: list[Repeat] = []

    def undisturbed(self, folder: Path, index: int, total: int, *, load_only: bool) -> Repeat:
        """Return what one fresh process recorded.

        If the process stood still, its record is discarded and a new process is run.

        Raises:
            DeviceFailed: Each of `TRIES` processes stood still.
            JobError: The process failed, or the attempt was stopped.
        """
        where = f"{'load' if load_only else 'repeat'} {index + 1} of {total}"
        for _ in range(TRIES):
            begin, started_at = self._clock.monotonic(), self._clock.now().timestamp()
            ran = self._run_with_service(folder, where, index, load_only=load_only)
            if not ran.still_times:
                return Repeat(ran.record, started_at)
            self.voided += 1
            still_s, lost_s = ran.still_s + ran.asleep_s, self._clock.monotonic() - begin
            self.stood_still_s += still_s
            self.lost_s += lost_s
            self.limit.ends_at += max(0.0, lost_s - ran.still_s)  # `ProcessRun` has already added the time that it stood still
            self._log.add(
                "warning",
                "system",
                f"the measured process of {where} stood still for {still_s:.1f} s (stopped, frozen or suspended): "
                "its samples are void, and it is measured again",
            )
        raise DeviceFailed(
            f"the measured process of {where} stood still in each of {TRIES} tries, for {self.stood_still_s:.1f} s in all: "
            "something stops, freezes or suspends it on this device"
        )

    def _run_with_service(self, folder: Path, where: str, index: int, *, load_only: bool) -> Ran:
        """Run one process while its service runs. If the service ends meanwhile, both are started again, as often as the recipe allows.

        Raises:
            JobError: The process failed, or the service ended too often.
        """
        while True:
            address = self._service.ready(self.limit.ends_at)
            self._telemetry.watch(self._service.watched(address), self._log)
            try:
                return self._run_process(folder / f"{next(_numbers)}.record", where, index, address, load_only=load_only)
            except Stopped:
                raise
            except JobError as error:
                if not self._service.died():
                    raise
                if not self._service.may_restart():
                    seen = f": {error.detail}" if not isinstance(error, ServiceFailed) else ""
                    raise ServiceFailed(f"{self._service.last_words()} (in {where}{seen})") from error
            finally:
                self._service.measured()

    def _run_process(self, record_path: Path, where: str, index: int, address: str, *, load_only: bool) -> Ran:
        run = ProcessRun(
            self._guard(),
            inbox=self._inbox,
            next_event=self._next_event,
            clock=self._clock,
            limit=self.limit,
            where=where,
            on_phase=partial(self._begins, where, index, load_only),
            on_tick=self._on_tick,
            on_news=lambda text: self._on_phase(where, index, text, load_only),
            on_check=self._service.check_alive,
            ends_early=entry_of(self._workload.kind).ends_early,
            job_log=self._log,
            software=lambda: software_of(self._assignment.capability),
        )
        started_at = self._clock.now().timestamp()
        try:
            ran = run.run(self._request(record_path, index, address, load_only=load_only))
        except JobError:
            if run.partial is not None:
                self.interrupted.append(Repeat(run.partial, started_at))
            raise
        finally:
            self.cpu_s += run.cpu_s
            self._telemetry.phase("", 0, "")
        if ran.record.error_kind:
            error = by_their_names(self._inputs.values(), ran.record.error)
            raise _ERRORS.get(ran.record.error_kind, JobError)(f"{error} ({where}, while {run.phase})")
        if incomplete := ran.record.facts.get("incomplete"):
            self.interrupted.append(Repeat(ran.record, started_at))
            raise EngineUnavailable(f"{incomplete} ({where})")
        return ran

    def _begins(self, where: str, index: int, load_only: bool, phase: str) -> None:
        self._telemetry.phase(where.partition(" ")[0], index, phase)
        self._on_phase(where, index, phase, load_only)

    def _request(self, record_path: Path, index: int, address: str, *, load_only: bool) -> RunRequest:
        warmup = self._workload.warmup
        return RunRequest(
            kind=self._workload.kind,
            capability=self._assignment.capability,
            spec=self._workload.spec.model_dump(mode="json"),
            inputs={role: str(found.path) for role, found in self._inputs.items()},
            record_path=str(record_path),
            warmup_min_calls=warmup.min_calls,
            warmup_min_s=warmup.min_s,
            warmup_max_s=warmup.max_s,
            load_only=load_only,
            repeats=most_repeats(self._workload),
            address=address,
            repeat=index,
        )


def by_their_names(inputs: Iterable[FetchedModel], error: str) -> str:
    """Return an engine's error text with the names of the inputs in place of those of the cached files, which are all the engine knows."""
    for one in inputs:
        if one.path.name != one.name:
            error = error.replace(str(one.path), one.name).replace(one.path.name, one.name)
    return error
