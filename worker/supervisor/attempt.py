"""One attempt at one job: fetch, wait for the host, measure repeat by repeat, summarise."""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from shared.clock import Clock
from shared.errors import (
    DeadlineExceeded,
    DeviceFailed,
    EngineUnavailable,
    JobError,
    ModelInvalid,
    ModelUnavailable,
    RunnerDied,
)
from shared.measurements import Noise, RawRepeat
from shared.protocol.messages import Assignment
from worker.engines.registry import model_suffixes
from worker.hardware.noise import NoiseProbe
from worker.job_log import JobLog
from worker.models import FetchedModel, ModelStore
from worker.runner.request import NO_ROOM, Record, RunRequest, read_record
from worker.supervisor.deaths import how_it_died
from worker.supervisor.guard_process import GuardEvent, GuardProcess, kill_group
from worker.supervisor.host_lock import HostLock
from worker.supervisor.host_turn import HostTurn
from worker.supervisor.outcome import Outcome, Stopped, Why
from worker.supervisor.repeats import as_repeat, most_repeats, reason_to_stop
from worker.supervisor.samples import pack

_numbers = itertools.count(1)  # of runs, so that no event of an earlier attempt is taken for one of this

OnStage = Callable[[str, float | None], None]
START_PATIENCE_S = 60.0  # of imports from a slow card; a guard that needs longer is found out by the job's own deadline
REAP_PATIENCE_S = 10.0  # a killed process that the kernel does not end by then hangs in a driver


class Attempt:
    """See the module. `inbox` brings the guard's events, the host lock and the stop; nothing here polls."""

    def __init__(
        self,
        assignment: Assignment,
        *,
        inbox: SimpleQueue[Any],
        guard: Callable[[], GuardProcess],
        models: ModelStore,
        lock: HostLock,
        probe: NoiseProbe,
        clock: Clock,
        folder: Path,
        on_stage: OnStage,
        job_log: JobLog,
        stopped: Callable[[], Why | None],
        host_wait_s: float,
    ) -> None:
        self._assignment, self._workload = assignment, assignment.workload
        self._inbox, self._guard, self._models = inbox, guard, models
        self._probe, self._clock, self._folder, self._on_stage, self._stopped = probe, clock, folder, on_stage, stopped
        self._log = job_log
        self._turn = HostTurn(lock, host_wait_s, clock, on_stage, job_log)
        self._timings: dict[str, float] = {}
        self._model: FetchedModel | None = None
        self._repeats: list[RawRepeat] = []
        self._extra_loads: list[int] = []
        self._runtime: dict[str, Any] = {}
        self._software: dict[str, str] = {}
        self._noise: Noise | None = None
        self._own_cpu_s = 0.0
        self._deadline = math.inf  # monotonic seconds

    def run(self) -> Outcome:
        begin = self._clock.monotonic()
        try:
            self._check_stop()
            self._fetch()
            because = self._measure_alone()
        except Stopped as stop:
            self._log.add("warning", "infrastructure", stop.detail)
            return self._outcome(begin, status=stop.why, error=stop.detail, error_kind=stop.kind)
        except JobError as error:
            self._log.add("error", "benchmark", error.detail)
            return self._outcome(begin, status="failed", error=error.detail, error_kind=error.kind)
        from shared.stats import summarise  # numpy: 15 MB resident that a worker without a job does not need

        rule = self._workload.stop
        summary = summarise(self._repeats, self._extra_loads, because, rule.precision if rule else None)
        self._log.add(
            "info", "benchmark", f"median {summary.inference.median:.3f} ms over {len(self._repeats)} repeats, {summary.steadiness}"
        )
        return self._outcome(begin, status="complete", summary=summary, samples_npz=pack(self._repeats, self._extra_loads))

    def _outcome(self, begin: float, **fields: Any) -> Outcome:
        model = self._model
        self._timings["total"] = self._clock.monotonic() - begin
        return Outcome(
            model_name=model.name if model else self._workload.model.name,
            model_size=model.size if model else None,
            model_sha256=model.sha256 if model else None,
            noise=self._noise,
            runtime=self._runtime,
            software=self._software,
            timings_s=self._timings,
            **fields,
        )

    # Fetching

    def _fetch(self) -> None:
        begin = self._clock.monotonic()
        self._on_stage("fetching", None)

        def on_progress(fraction: float | None) -> None:
            self._check_stop()
            self._on_stage("fetching", fraction)

        self._model = self._models.fetch(self._workload.model, on_progress, model_suffixes(self._assignment.capability))
        self._timings["fetch"] = self._clock.monotonic() - begin
        size = f"{self._model.size} bytes, sha256 {self._model.sha256}"
        self._log.add("info", "infrastructure", f"model {self._model.name} from {self._workload.model.source}: {size}")

    # Measuring

    def _measure_alone(self) -> str:
        """Measure while no other worker on this host does. Returns why no further repeat was run."""
        begin = self._clock.monotonic()
        with ExitStack() as stack:
            if self._model is not None:
                stack.enter_context(self._models.in_use(self._model))
            try:
                stack.callback(self._turn.take(self._inbox, self._next_event))
            finally:
                self._timings["wait_for_lock"] = self._clock.monotonic() - begin
            folder = self._records_folder(stack)
            self._guard().ready.wait(START_PATIENCE_S)  # its imports are no noise and no part of the measurement
            self._probe.before(self._assignment.capability)
            begin = self._clock.monotonic()
            try:
                return self._measure(folder, begin)
            finally:
                self._timings["measure"] = self._clock.monotonic() - begin
                self._noise = self._probe.after(self._own_cpu_s)
                self._log.add("info", "system", f"noise: {self._noise.grade}{''.join(f'; {reason}' for reason in self._noise.reasons)}")

    def _records_folder(self, stack: ExitStack) -> Path:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            return Path(stack.enter_context(tempfile.TemporaryDirectory(dir=self._folder, ignore_cleanup_errors=True)))
        except OSError as error:
            raise DeviceFailed(
                f"no result could be written to the worker's cache folder: {error}; free some space on this device"
            ) from error

    def _measure(self, folder: Path, begin: float) -> str:
        self._deadline = begin + self._workload.timeout_s
        loads = self._workload.loads
        because = None
        while because is None:
            record = self._run_process(folder, len(self._repeats), most_repeats(self._workload), load_only=False)
            self._keep(record)
            because = reason_to_stop(self._workload, self._repeats, self._clock.monotonic() - begin)
        for index in range(loads):
            self._extra_loads.append(self._run_process(folder, index, loads, load_only=True).load_ns)
        return because

    def _keep(self, record: Record) -> None:
        if not self._repeats:
            self._runtime, self._software = record.runtime, record.software
        self._repeats.append(as_repeat(record, len(self._repeats)))

    def _run_process(self, folder: Path, index: int, total: int, *, load_only: bool) -> Record:
        """One fresh process from its start to its record.

        Raises:
            JobError: whatever came in between.
        """
        what = "load" if load_only else "repeat"
        where = f"{what} {index + 1} of {total}"
        number = next(_numbers)
        record_path = folder / f"{number}.record"
        guard = self._guard()
        guard.run(number, self._request(record_path, load_only))
        phase, group, ended, killed = "starting", None, None, False
        self._on_stage(f"{where}: {phase}", index / total)
        try:
            while ended is None:
                event = self._next_event(max(0.0, self._deadline - self._clock.monotonic()))
                if event is None:
                    killed = True
                    event = self._end(guard, number)
                    if event is None or event.facts.get("killed_by_us"):
                        raise DeadlineExceeded(
                            f"not done within timeout_s = {self._workload.timeout_s:g}: killed in {where} while {phase}; "
                            "measure fewer inferences or repeats, or give it more time"
                        )
                    # It had ended before, and this process stood still meanwhile: stopped, or without a CPU.
                if not isinstance(event, GuardEvent):
                    continue
                if event.event == "lost" and event.facts["pid"] == guard.pid:
                    if group is not None:
                        kill_group(group)  # nobody else is left to do it
                    raise RunnerDied(f"the guard process ended in {where} while {phase} (exit code {event.facts['returncode']})")
                if event.facts.get("id") == number and event.event == "started":
                    group = event.facts["pid"]
                elif event.facts.get("id") == number and event.event == "phase":
                    phase = event.facts["phase"]
                    self._on_stage(f"{where}: {phase}", index / total)
                elif event.facts.get("id") == number and event.event == "exited":
                    ended = event
        finally:
            if ended is None and not killed:
                self._end(guard, number)
        # How long this process took to hear of it is none of the job's time.
        self._deadline += max(0.0, self._clock.monotonic() - ended.facts["at"])
        return self._read(ended, record_path, where, phase)

    def _request(self, record_path: Path, load_only: bool) -> RunRequest:
        if self._model is None:
            raise RuntimeError("a process was asked for before its model was fetched")
        warmup = self._workload.warmup
        return RunRequest(
            capability=self._assignment.capability,
            model_path=str(self._model.path),
            record_path=str(record_path),
            options=self._workload.options.model_dump(),
            inferences=self._workload.inferences,
            warmup_min_calls=warmup.min_calls,
            warmup_min_s=warmup.min_s,
            warmup_max_s=warmup.max_s,
            load_only=load_only,
        )

    def _read(self, event: GuardEvent, record_path: Path, where: str, phase: str) -> Record:
        facts = event.facts
        output: str = facts["output"]
        if output:
            self._log.add("warning" if facts["code"] != 0 else "info", "application", output)
        record = read_record(record_path)
        self._own_cpu_s += facts["cpu_s"] or (record.process_cpu_s if record else 0.0)
        if facts["code"] != 0 or record is None:
            died = DeviceFailed if facts["code"] == NO_ROOM else RunnerDied
            raise died(how_it_died(facts, where, phase) + (f"; its last output:\n{output}" if output else ""))
        if record.error_kind:
            raise _ERRORS.get(record.error_kind, JobError)(f"{_by_its_name(self._model, record.error)} ({where}, while {phase})")
        return record

    def _end(self, guard: GuardProcess, number: int) -> GuardEvent | None:
        """Kill the process of a run, if it still lives, and wait until the guard says so.

        Returns:
            The guard's word of its end, or of its own; None when neither comes.
        """
        if not guard.alive:
            return None
        guard.kill(number)
        end = self._clock.monotonic() + REAP_PATIENCE_S
        while (left := end - self._clock.monotonic()) > 0:
            try:
                event = self._inbox.get(timeout=left)
            except Empty:
                continue
            if not isinstance(event, GuardEvent):
                continue
            ours = event.facts.get("pid") == guard.pid if event.event == "lost" else event.facts.get("id") == number
            if ours and event.event in ("lost", "exited"):
                return event
        self._log.add("error", "infrastructure", f"a killed process did not end within {REAP_PATIENCE_S:g} s: a device's driver may hang")
        guard.destroy()
        return None

    # Events

    def _next_event(self, timeout_s: float | None) -> Any:
        """The next event, or None after `timeout_s`. Raises `Stopped` when the attempt is to stop."""
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


def _by_its_name(model: FetchedModel | None, error: str) -> str:
    """An error of the engine, which knows only the cached file, with the model called as its user calls it."""
    if model is None or model.path.name == model.name:
        return error
    return error.replace(str(model.path), model.name).replace(model.path.name, model.name)
