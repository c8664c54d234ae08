"""Measures one attempt at one job: it fetches the inputs, runs one process at each visit, and summarises after the last one.

`Block` decides when an attempt is visited, and holds the host's lock meanwhile. Attempts that are compared with each other take turns.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from shared.clock import Clock
from shared.errors import DeviceFailed, HostBusy, JobError, RunnerDied
from shared.ids import AttemptKey
from shared.protocol.messages import Assignment
from shared.targets import Launched
from worker.access import WHITE_BOX, Access
from worker.hardware.noise_probe import Measured, NoiseProbe
from worker.job_log import JobLog
from worker.kinds.registry import entry_of, resolve
from worker.launchers.running import RunningServices
from worker.models import ModelStore
from worker.supervisor.course import Course
from worker.supervisor.deaths import without_output
from worker.supervisor.guard_process import GuardProcess
from worker.supervisor.host_lock import HostLock
from worker.supervisor.host_turn import HostTurn
from worker.supervisor.inputs import InputsOfJob
from worker.supervisor.kept_services import KeptServices
from worker.supervisor.observation import Observation
from worker.supervisor.outcome import Outcome, Stopped, Why
from worker.supervisor.processes import Processes
from worker.supervisor.result import ResultOfJob
from worker.supervisor.service import ServiceOfJob
from worker.supervisor.telemetry import Telemetry

OnStage = Callable[[str, float | None], None]
START_PATIENCE_S = 60.0  # enough for imports from a slow SD card. If the guard needs longer, the job's deadline ends the job.
# After these failures a job is measured again, so nobody needs what was measured before.
TRIED_AGAIN = frozenset({RunnerDied.kind, DeviceFailed.kind, HostBusy.kind})


class Attempt:
    """Measures one attempt, as described at the top of this module. `outcome` says how it ended; it is None before that.

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
        kept: KeptServices,
        telemetry: Telemetry,
        access: Access = WHITE_BOX,
    ) -> None:
        self._assignment, self._workload, self._access = assignment, assignment.workload, access
        self._inbox, self._guard = inbox, guard
        self._clock, self._folder, self._on_stage, self._stopped = clock, folder, on_stage, stopped
        self._log, self._telemetry = job_log, telemetry
        self._turn = HostTurn(lock, host_wait_s, clock, on_stage, job_log)  # to fetch; `Block` takes the lock to measure
        self.outcome: Outcome | None = None
        self._began = clock.monotonic()
        self._timings: dict[str, float] = {}
        self._inputs = InputsOfJob(
            assignment,
            models=models,
            lock=lock,
            take_turn=lambda: self._turn.take(self._inbox, self._next_event, shared=True),
            clock=clock,
            on_stage=on_stage,
            job_log=job_log,
            check_stop=self._check_stop,
        )
        self._held = ExitStack()  # what the attempt keeps until it is over: its inputs in the cache, and the folder of its records
        self._records: Path | None = None
        self._course = Course(assignment.workload)
        self._result = ResultOfJob(
            assignment, self._course, self._inputs, telemetry=telemetry, job_log=job_log, cache_dir=cache_dir, folder=folder
        )
        self._observation = Observation(probe, assignment.capability, lock_doubt)
        self._left_s = self._workload.timeout_s  # the limit runs only in this attempt's own visits
        self._measured_s = 0.0
        self._service = ServiceOfJob(
            assignment,
            running=running,
            kept=kept,
            clock=clock,
            job_log=job_log,
            on_stage=lambda stage: on_stage(stage, None),
            check_stop=self._check_stop,
        )
        self._processes = Processes(
            assignment,
            self._inputs.found,
            self._service,
            inbox=inbox,
            guard=guard,
            next_event=self._next_event,
            clock=clock,
            on_phase=self._begins,
            on_tick=probe.during,
            job_log=job_log,
            telemetry=telemetry,
        )

    @property
    def key(self) -> AttemptKey:
        return self._assignment.job_id, self._assignment.attempt

    @property
    def log(self) -> JobLog:
        return self._log

    @property
    def next_process(self) -> str:
        """Return which process of the job is next, such as `repeat 2 of 6`."""
        return self._course.next_process

    @property
    def progress(self) -> float:
        """Return which fraction of the attempt is done, counted in processes."""
        return self._course.progress

    # The steps. None of them raises what ends an attempt: `outcome` says it.

    def prepare(self) -> None:
        """Fetch the inputs, and keep them in the cache until the attempt is over."""
        self._take(self._prepare)

    def visit(self) -> None:
        """Run the next process: a repeat or, after the last repeat, a load. After the last process, summarise.

        The caller holds the host's lock.
        """
        self._take(self._visit)

    def check(self) -> None:
        """End the attempt if it was stopped."""
        self._take(self._check_stop)

    def fail(self, error: JobError) -> None:
        """End the attempt with an error that its caller has met on its behalf."""

        def failing() -> None:
            raise error

        self._take(failing)

    def hand_back(self, why: str) -> None:
        """End the attempt so that its job goes back and is tried again."""
        self.fail(Stopped("handed_back", why))

    @property
    def had_to_wait(self) -> bool:
        """Return whether the attempt waited for another worker before it could fetch its model."""
        return self._turn.waited

    def waited(self, seconds: float) -> None:
        """Add to the time for which the attempt has waited for the host's lock."""
        self._timings["wait_for_lock"] = self._timings.get("wait_for_lock", 0.0) + seconds

    def pause(self) -> None:
        """Stop observing the machine on this attempt's behalf, because another process than its own is next."""
        self._telemetry.pause(self._log)  # before the last look, so that sampling is no other program's work
        self._observation.pause(self._measured())

    def release(self, error: BaseException) -> None:
        """Release what the attempt keeps, because an error ends it."""
        self._telemetry.pause(self._log)  # its samples are in the folder that is removed now
        self._held.__exit__(type(error), error, error.__traceback__)

    def _take(self, step: Callable[[], None]) -> None:
        if self.outcome is not None:
            return
        try:
            step()
        except JobError as error:
            kept = self._kept(error)  # before the records are removed
            self.release(error)
            self._judge_noise()
            if isinstance(error, Stopped):
                # The last line is always the same. It tells a later process of this worker that nobody died.
                for line in filter(None, (error.reason, error.detail)):
                    self._log.add("warning", "infrastructure", line)
                self._end(status=error.why, error=error.reason or error.detail, error_kind=error.kind, **kept)
            else:
                self._log.add("error", "benchmark", without_output(error.detail))
                self._end(status="failed", error=error.detail, error_kind=error.kind, **kept)

    def _kept(self, error: JobError) -> dict[str, Any]:
        """Return what was measured before an error ended the attempt, marked as partial. Empty if nothing was, or if nobody needs it."""
        repeats = [*self._course.repeats, *self._processes.interrupted]
        goes_back = error.kind in TRIED_AGAIN or (isinstance(error, Stopped) and error.why == "handed_back")
        if not repeats or goes_back or not entry_of(self._workload.kind).ends_early:
            return {}
        self._judge_noise()
        if not self._course.repeats:
            self._result.learn(repeats[0])
        self._result.add_service(self._service.facts())
        return self._result.partial(repeats)

    def _end(self, **fields: Any) -> None:
        first = next(iter(self._inputs.found.values()), None)  # of an inference: the model
        self._timings["total"] = self._clock.monotonic() - self._began
        self.outcome = Outcome(
            model_name=first.name if first else self._workload.title,
            model_size=first.size if first else None,
            model_sha256=first.sha256 if first else None,
            noise=self._observation.noise,
            runtime=self._result.runtime,
            software=self._result.software,
            timings_s=self._timings,
            telemetry_npz=self._telemetry.take(),
            **fields,
        )

    # Fetching

    def _prepare(self) -> None:
        self._check_stop()
        self._access.check(self._assignment.capability, starts_service=isinstance(self._workload.target, Launched))
        resolve(self._workload.kind)  # a kind that this worker does not know fails before anything is fetched
        self._service.check()
        self._timings["fetch"] = self._inputs.fetch(self._held)

    # Measuring

    def _visit(self) -> None:
        """Run the next process. After the last one, summarise while the caller still holds the host's lock.

        A million samples keep one core busy for a second, which would disturb the measurement of another worker.
        """
        self._check_stop()
        if self._records is None:
            self._records = self._records_folder(self._held)
            self._held.callback(self._service.end)
        guard = self._guard()
        guard.ready.wait(START_PATIENCE_S)  # so that its imports are neither noise nor part of the measurement
        self._observation.go_on(guard, self._measured())
        self._telemetry.go_on(guard, self._records, self._check_stop)
        begin = self._clock.monotonic()
        self._processes.limit.ends_at = begin + self._left_s
        try:
            self._run_next(self._records, begin)
        finally:
            now = self._clock.monotonic()
            self._left_s = self._processes.limit.ends_at - now
            self._timings["measure"] = self._measured_s = self._measured_s + now - begin
        if not self._course.is_over:
            return
        self._judge_noise()
        self._result.add_service(self._service.facts())
        self._service.leave()  # nothing runs beside the computing of a result, but perhaps an idle server
        measured = self._result.whole(self._processes.interrupted)
        self._held.close()
        self._end(status="complete", **measured)

    def _run_next(self, folder: Path, begin: float) -> None:
        """Run the next process, a repeat or a load, of a visit that began at `begin`, in monotonic seconds."""
        course = self._course
        if course.because is not None:
            ran = self._processes.undisturbed(folder, len(course.loads), course.further_loads, load_only=True)
            course.loads.append(ran.record)
            return
        repeat = self._processes.undisturbed(folder, len(course.repeats), course.most_repeats, load_only=False)
        if not course.repeats:
            self._result.learn(repeat)
        course.add(repeat, self._measured_s + self._clock.monotonic() - begin - self._processes.lost_s)

    def _measured(self) -> Measured:
        ran = self._processes
        return Measured(ran.cpu_s + self._service.cpu_s, self._result.threads, ran.voided, ran.stood_still_s)

    def _judge_noise(self) -> None:
        """Grade the noise of all visits together. Does nothing if no process was measured, or if it is graded already."""
        self._telemetry.pause(self._log)  # before the last look, so that sampling is no other program's work
        if (noise := self._observation.judge(self._measured())) is not None:
            self._log.add("info", "system", f"noise: {noise.grade}{''.join(f'; {reason}' for reason in noise.reasons)}")

    def _records_folder(self, stack: ExitStack) -> Path:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            return Path(stack.enter_context(tempfile.TemporaryDirectory(dir=self._folder, ignore_cleanup_errors=True)))
        except OSError as error:
            raise DeviceFailed(
                f"no result could be written to the worker's cache folder: {error}; free some space on this device"
            ) from error

    def _begins(self, where: str, index: int, phase: str, load_only: bool) -> None:
        self._on_stage(f"{where}: {phase}", self._course.progress_at(index, phase, load_only=load_only))

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
