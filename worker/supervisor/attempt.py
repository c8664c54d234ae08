"""Runs one attempt at one job: it fetches the model, waits for the host, measures each repeat, and summarises."""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from shared.clock import Clock
from shared.errors import DeviceFailed, EngineUnavailable, JobError, ModelInvalid, ModelUnavailable
from shared.measurements import Noise
from shared.protocol.messages import Assignment
from shared.series import Record
from worker.hardware.noise_probe import Measured, NoiseProbe
from worker.hardware_tests.last import LastFigures, keep
from worker.job_log import JobLog
from worker.kinds.base import Derived, Measure, Repeat
from worker.kinds.registry import model_suffixes, resolve
from worker.launchers.running import RunningServices
from worker.measured.request import RunRequest
from worker.models import FetchedModel, ModelStore
from worker.supervisor.deaths import software_of, without_output
from worker.supervisor.guard_process import GuardProcess
from worker.supervisor.heavy_work import HeavyWork
from worker.supervisor.host_lock import HostLock
from worker.supervisor.host_turn import HostTurn
from worker.supervisor.outcome import Outcome, Stopped, Why
from worker.supervisor.process_run import ProcessRun, Ran, TimeLimit
from worker.supervisor.repeats import most_repeats, reason_to_stop
from worker.supervisor.samples import pack
from worker.supervisor.service import ServiceFailed, ServiceOfJob
from worker.supervisor.telemetry import Telemetry

_numbers = itertools.count(1)  # numbers for the record files of this process

OnStage = Callable[[str, float | None], None]
START_PATIENCE_S = 60.0  # enough for imports from a slow SD card. If the guard needs longer, the job's deadline ends the job.
TRIES = 3  # how often a repeat is tried whose process stands still
# The estimated progress of a repeat when a phase begins. The real durations are not known in advance.
BEHIND = {"starting": 0.0, "loading": 0.05, "preparing inputs": 0.1, "warming up": 0.15, "measuring": 0.3}


class Attempt:
    """Runs one attempt, as described at the top of this module.

    `inbox` delivers the guard's events, the host lock and the stop request.
    """

    def __init__(
        self,
        assignment: Assignment,
        *,
        inbox: SimpleQueue[Any],
        guard: Callable[[], GuardProcess],
        models: ModelStore,
        lock: HostLock,
        lock_doubt: str,
        cache_dir: Path,
        probe: NoiseProbe,
        clock: Clock,
        folder: Path,
        on_stage: OnStage,
        job_log: JobLog,
        stopped: Callable[[], Why | None],
        host_wait_s: float,
        running: RunningServices,
        telemetry: Telemetry,
    ) -> None:
        self._assignment, self._workload = assignment, assignment.workload
        self._inbox, self._guard, self._models = inbox, guard, models
        self._probe, self._clock, self._folder, self._on_stage, self._stopped = probe, clock, folder, on_stage, stopped
        self._log, self._cache_dir, self._telemetry = job_log, cache_dir, telemetry
        self._lock, self._turn = lock, HostTurn(lock, host_wait_s, clock, on_stage, job_log, lock_doubt)
        self._service = ServiceOfJob(
            assignment,
            running=running,
            clock=clock,
            job_log=job_log,
            on_stage=lambda stage: on_stage(stage, None),
            check_stop=self._check_stop,
        )
        self._timings: dict[str, float] = {}
        self._inputs: dict[str, FetchedModel] = {}  # by their roles
        self._repeats: list[Repeat] = []
        self._loads: list[Record] = []
        self._runtime: dict[str, Any] = {}
        self._software: dict[str, str] = {}
        self._noise: Noise | None = None
        self._own_cpu_s = 0.0
        self._address = ""  # of the service that gets the load
        self._limit = TimeLimit(self._workload.timeout_s, math.inf)
        self._voided, self._stood_still_s, self._lost_s = 0, 0.0, 0.0

    def run(self) -> Outcome:
        begin = self._clock.monotonic()
        try:
            self._check_stop()
            resolve(self._workload.kind)  # a kind that this worker does not know fails before anything is fetched
            self._service.check()
            self._fetch()
            measured = self._measure_alone()
        except Stopped as stop:
            self._log.add("warning", "infrastructure", stop.detail)
            return self._outcome(begin, status=stop.why, error=stop.detail, error_kind=stop.kind)
        except JobError as error:
            self._log.add("error", "benchmark", without_output(error.detail))
            return self._outcome(begin, status="failed", error=error.detail, error_kind=error.kind)
        return self._outcome(begin, status="complete", **measured)

    @cached_property
    def _kind(self) -> Measure:
        return resolve(self._workload.kind)()

    @property
    def _further_loads(self) -> int:
        return self._kind.further_loads(self._workload)

    def _outcome(self, begin: float, **fields: Any) -> Outcome:
        first = next(iter(self._inputs.values()), None)  # of an inference: the model
        self._timings["total"] = self._clock.monotonic() - begin
        return Outcome(
            model_name=first.name if first else self._workload.title,
            model_size=first.size if first else None,
            model_sha256=first.sha256 if first else None,
            noise=self._noise,
            runtime=self._runtime,
            software=self._software,
            timings_s=self._timings,
            telemetry_npz=self._telemetry.take(),
            **fields,
        )

    # Fetching

    def _fetch(self) -> None:
        begin = self._clock.monotonic()
        self._on_stage("fetching", None)

        heavy = HeavyWork(self._lock, lambda: self._turn.take(self._inbox, self._next_event, shared=True), self._clock)

        def on_progress(fraction: float | None) -> None:
            self._check_stop()
            heavy.step()
            self._on_stage("fetching", fraction)

        try:
            # Waiting for a server is no work, so the lock is given back meanwhile: a stalled server must not hold up a neighbour.
            suffixes = model_suffixes(self._workload.kind, self._assignment.capability)
            for role, wanted in self._workload.inputs.items():
                found = self._models.fetch(wanted, on_progress, suffixes, on_wait=heavy.close)
                self._inputs[role] = found
                size = f"{found.size} bytes, sha256 {found.sha256}"
                self._log.add("info", "infrastructure", f"{role} {found.name} from {wanted.source}: {size}")
        finally:
            heavy.close()
        self._timings["fetch"] = self._clock.monotonic() - begin

    # Measuring

    def _measure_alone(self) -> dict[str, Any]:
        """Measure while no other worker of this host does. Returns the fields of the outcome.

        The samples are summarised before the lock is given back: a million samples keep one core busy for a second, which would disturb
        the measurement of another worker.
        """
        begin = self._clock.monotonic()
        with ExitStack() as stack:
            for found in self._inputs.values():
                stack.enter_context(self._models.in_use(found))
            try:
                stack.callback(self._turn.take(self._inbox, self._next_event))
            finally:
                self._timings["wait_for_lock"] = self._clock.monotonic() - begin
            if self._turn.waited:
                self._probe.forget()
            folder = self._records_folder(stack)
            guard = self._guard()
            guard.ready.wait(START_PATIENCE_S)  # so that its imports are neither noise nor part of the measurement
            facts = {"steering": guard.steering, "host_lock_doubt": self._turn.doubt}
            self._probe.before(self._assignment.capability, guard.pid, facts)
            stack.callback(self._service.end)
            try:
                self._telemetry.begin(guard, folder, self._assignment.capability, self._check_stop)
                begin = self._clock.monotonic()
                because = self._measure(folder, begin)
            finally:
                self._own_cpu_s += self._service.cpu_s
                self._timings["measure"] = self._clock.monotonic() - begin
                self._telemetry.end(self._log)  # before the last look, so that sampling is no other program's work
                measured = Measured(self._own_cpu_s, threads_of(self._runtime), self._voided, self._stood_still_s)
                self._noise = self._probe.after(measured)
                self._log.add("info", "system", f"noise: {self._noise.grade}{''.join(f'; {reason}' for reason in self._noise.reasons)}")
            if facts := self._service.facts():
                self._runtime = self._runtime | {"service": facts}
            self._service.end()
            return self._summarised(because)

    def _summarised(self, because: str) -> dict[str, Any]:
        derived = self._kind.derive(self._workload, self._repeats, self._loads, because)
        self._log.add("info", "benchmark", derived.said)
        if derived.of_device is not None:
            derived = self._remembered(derived, derived.of_device)
        samples = pack([repeat.record for repeat in self._repeats], self._loads, self._kind.loading)
        derived, facts = self._telemetry.added_to(derived, self._repeats, self._kind.loading)
        self._runtime = {**self._runtime, **facts}
        return {"summary": derived.summary, "figures": derived.outcome, "samples_npz": samples, "files": derived.files}

    def _remembered(self, derived: Derived, of_device: LastFigures) -> Derived:
        """Keep what was measured of the device, and add to the result which figures have moved since they were measured last."""
        try:
            since = keep(self._cache_dir, of_device)
        except OSError as error:
            self._log.add("warning", "system", f"the figures of this device could not be kept in the worker's cache folder: {error}")
            return derived
        if said := since.in_words():  # the reports show the warnings of the runtime beside the figures
            self._log.add("warning", "benchmark", said)
            self._runtime = self._runtime | {"warnings": [*self._runtime.get("warnings", []), said]}
        if derived.outcome is None:
            return derived
        detail = derived.outcome.detail | {"since_last_time": since.as_json()}
        return replace(derived, outcome=derived.outcome.model_copy(update={"detail": detail}))

    def _records_folder(self, stack: ExitStack) -> Path:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            return Path(stack.enter_context(tempfile.TemporaryDirectory(dir=self._folder, ignore_cleanup_errors=True)))
        except OSError as error:
            raise DeviceFailed(
                f"no result could be written to the worker's cache folder: {error}; free some space on this device"
            ) from error

    def _measure(self, folder: Path, begin: float) -> str:
        """Run all processes of the job. Returns why no further repeat was run."""
        self._limit = TimeLimit(self._workload.timeout_s, begin + self._workload.timeout_s)
        because = None
        while because is None:
            repeat = self._undisturbed(folder, len(self._repeats), most_repeats(self._workload), load_only=False)
            if not self._repeats:
                self._runtime, self._software = repeat.record.facts["runtime"], repeat.record.facts["software"]
            self._repeats.append(repeat)
            elapsed_s = self._clock.monotonic() - begin - self._lost_s
            because = reason_to_stop(self._workload, self._kind, self._repeats, elapsed_s)
        for index in range(self._further_loads):
            self._loads.append(self._undisturbed(folder, index, self._further_loads, load_only=True).record)
        return because

    def _undisturbed(self, folder: Path, index: int, total: int, *, load_only: bool) -> Repeat:
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
            self._voided += 1
            still_s, lost_s = ran.still_s + ran.asleep_s, self._clock.monotonic() - begin
            self._stood_still_s += still_s
            self._lost_s += lost_s
            self._limit.ends_at += max(0.0, lost_s - ran.still_s)  # `ProcessRun` has already added the time that it stood still
            self._log.add(
                "warning",
                "system",
                f"the measured process of {where} stood still for {still_s:.1f} s (stopped, frozen or suspended): "
                "its samples are void, and it is measured again",
            )
        raise DeviceFailed(
            f"the measured process of {where} stood still in each of {TRIES} tries, for {self._stood_still_s:.1f} s in all: "
            "something stops, freezes or suspends it on this device"
        )

    def _run_with_service(self, folder: Path, where: str, index: int, *, load_only: bool) -> Ran:
        """Run one process while its service runs. If the service ends meanwhile, both are started again, as often as the recipe allows.

        Raises:
            JobError: The process failed, or the service ended too often.
        """
        while True:
            self._address = self._service.ready(self._limit.ends_at)
            try:
                return self._run_process(folder / f"{next(_numbers)}.record", where, index, load_only=load_only)
            except Stopped:
                raise
            except JobError as error:
                if not self._service.died():
                    raise
                if not self._service.may_restart():
                    raise ServiceFailed(f"{self._service.last_words()} (in {where}: {error.detail})") from error
            finally:
                self._service.measured()

    def _run_process(self, record_path: Path, where: str, index: int, *, load_only: bool) -> Ran:
        run = ProcessRun(
            self._guard(),
            inbox=self._inbox,
            next_event=self._next_event,
            clock=self._clock,
            limit=self._limit,
            where=where,
            on_phase=lambda phase: self._begins(where, index, phase, load_only=load_only),
            on_tick=self._probe.during,
            job_log=self._log,
            software=lambda: software_of(self._assignment.capability),
        )
        try:
            ran = run.run(self._request(record_path, index, load_only=load_only))
        finally:
            self._own_cpu_s += run.cpu_s
            self._telemetry.phase("", 0, "")
        if ran.record.error_kind:
            error = by_their_names(self._inputs.values(), ran.record.error)
            raise _ERRORS.get(ran.record.error_kind, JobError)(f"{error} ({where}, while {run.phase})")
        return ran

    def _begins(self, where: str, index: int, phase: str, *, load_only: bool) -> None:
        self._telemetry.phase(where.partition(" ")[0], index, phase)
        self._on_stage(f"{where}: {phase}", self._progress(index, phase, load_only=load_only))

    def _progress(self, index: int, phase: str, *, load_only: bool) -> float:
        """Return which fraction of the attempt is done, counted in processes."""
        before = len(self._repeats) + index if load_only else index
        repeats = len(self._repeats) if load_only else most_repeats(self._workload)
        return (before + BEHIND.get(phase, 0.0)) / (repeats + self._further_loads)

    def _request(self, record_path: Path, index: int, *, load_only: bool) -> RunRequest:
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
            address=self._address,
            repeat=index,
        )

    # Events

    def _next_event(self, timeout_s: float | None) -> Any:
        """Return the next event, or None after `timeout_s`. Raises `Stopped` when the attempt must stop."""
        self._check_stop()
        try:
            event = self._inbox.get(timeout=timeout_s)
        except Empty:
            return None
        self._check_stop()
        return event

    def _check_stop(self) -> None:
        if (why := self._stopped()) is not None:
            raise Stopped(why)


_ERRORS: dict[str, type[JobError]] = {kind.kind: kind for kind in (ModelUnavailable, ModelInvalid, EngineUnavailable)}


def by_their_names(inputs: Iterable[FetchedModel], error: str) -> str:
    """Return an engine's error text with the names of the inputs in place of those of the cached files, which are all the engine knows."""
    for one in inputs:
        if one.path.name != one.name:
            error = error.replace(str(one.path), one.name).replace(one.path.name, one.name)
    return error


def threads_of(runtime: Mapping[str, Any]) -> int | None:
    """Return how many threads the runtime reports for the computation of one operator, or None if it does not report it."""
    threads = runtime.get("threads")
    count = threads.get("intra_op") if isinstance(threads, Mapping) else threads
    return count if isinstance(count, int) and count > 0 else None
