"""Runs attempts, one process at a time, and controls each from outside: deadline, kill and captured output."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from shared.clock import Clock
from shared.errors import DeviceFailed, InvalidInput
from shared.ids import AttemptKey
from shared.kinds.registry import DEFAULT_KIND
from shared.protocol.messages import Assignment
from worker.access import WHITE_BOX, Access
from worker.engines.registry import first_installed
from worker.hardware.noise_probe import NoiseProbe
from worker.job_log import JobLog
from worker.launchers.running import RunningServices
from worker.models import ModelStore
from worker.runner.plan import GuardPlan, plan_for
from worker.supervisor.attempt import Attempt, OnStage
from worker.supervisor.block import TURN_S, Block, OnBlockStage, OnOver
from worker.supervisor.guard_process import GuardProcess
from worker.supervisor.host_lock import HostLock
from worker.supervisor.idle_power import IdlePower
from worker.supervisor.kept_services import KeptServices
from worker.supervisor.lock_place import lock_place
from worker.supervisor.outcome import Outcome, Why
from worker.supervisor.telemetry import Telemetry, TelemetryOptions

HOST_WAIT_S = 3_600.0  # as long as the default timeout of a job
MOST_GUARDS = 3  # each holds a runtime in memory, about 50 MB with ONNX Runtime; a comparison of three runtimes ends none of them
REMEMBERED_STOPS = 256  # a stop may arrive before its job; this is more than a queue can prefetch


class Supervisor:
    """Runs the attempts of a worker. `run` blocks its thread; `stop` and `close` may be called from any other thread.

    Args:
        cache_dir: Runs keep their records in its folder `runs/` while they last. It is created if it does not exist.
        lock_path: The host's lock file. By default the place that all workers of the host use.
        host_wait_s: How long an attempt waits while another worker measures on the host.
        turn_s: How long a block of several attempts keeps the host's lock while another worker waits for it.
        spawn: Start each repeat in a new interpreter even where forking is possible.
        telemetry: What is sampled beside each measurement.
        access: What this worker may see and start.
    """

    def __init__(
        self,
        *,
        cache_dir: Path,
        models: ModelStore,
        clock: Clock,
        lock_path: Path | None = None,
        host_wait_s: float = HOST_WAIT_S,
        turn_s: float = TURN_S,
        spawn: bool = False,
        telemetry: TelemetryOptions = TelemetryOptions(),  # noqa: B008 - it is frozen
        access: Access = WHITE_BOX,
    ) -> None:
        self._runs = cache_dir / "runs"
        self._models, self._clock, self._spawn = models, clock, spawn
        self._host_wait_s, self._turn_s = host_wait_s, turn_s
        self._place = lock_place(lock_path)
        self._lock = HostLock(self._place.path)
        self._probe = NoiseProbe(clock)
        self.services = RunningServices()
        """The services that run at the moment."""
        self._kept = KeptServices(self.services)
        self._access = access
        self._telemetry, self._idle_power = telemetry, IdlePower(clock, telemetry.idle_s)
        self._inbox: SimpleQueue[Any] = SimpleQueue()
        self._guards: dict[GuardPlan, GuardProcess] = {}  # the one that was used last is the last
        self._running = threading.Lock()
        self._state = threading.Lock()  # guards everything below
        self._stops: dict[tuple[str, int], Why] = {}
        self._closed = False

    def start(self, capability: str | None = None) -> None:
        """Start the guard of an engine before the first job, so that it can import the runtime: by default of the first installed one.

        Returns before the imports are done. The guards of other engines are started by the first job that needs them.

        Raises:
            InvalidInput: The cache folder cannot be written to.
            DeviceFailed: The guard could not be started.
        """
        try:
            self._runs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInput(
                f"the cache folder {self._runs.parent} cannot be written ({error.strerror}): "
                "make it writable, free some space, or set FLEETMARK_WORKER_CACHE_DIR to another"
            ) from error
        self._clear_stale_runs()
        self._probe.remember(self._living_guard(plan_for(DEFAULT_KIND, capability or first_installed())).pid)

    def run(self, assignment: Assignment, on_stage: OnStage, job_log: JobLog | None = None) -> Outcome:
        """Run one attempt and return how it ended. An exception from here is a defect in our code.

        Args:
            on_stage: Called with the current stage and the progress (0 to 1, or None if unknown). It is also called while a process
                is measured, so it must only store the values and return.
            job_log: Receives an entry for each thing that happens.
        """
        key = (assignment.job_id, assignment.attempt)
        ended: dict[AttemptKey, Outcome] = {}

        def note(stage: str, progress: float | None, job: AttemptKey, *, in_turn: bool = True) -> None:
            if in_turn and job == key:
                on_stage(stage, progress)

        self.run_block([assignment], note, {key: job_log or JobLog(key, self._clock)}, ended.__setitem__)
        return ended[key]

    def run_block(
        self, assignments: Sequence[Assignment], on_stage: OnBlockStage, job_logs: Mapping[AttemptKey, JobLog], on_over: OnOver
    ) -> None:
        """Run one attempt at each of several jobs, in turns. An exception from here is a defect in our code.

        Args:
            on_stage: As in `run`, for one job of the block.
            job_logs: Each job's log.
            on_over: Called with the outcome of each attempt, in this thread, while no process is measured.
        """
        if not self._running.acquire(blocking=False):
            raise RuntimeError("a supervisor runs one block of attempts at a time")
        keys = [(assignment.job_id, assignment.attempt) for assignment in assignments]
        try:
            self._kept.end_of_others(assignments[0].campaign_id)
            Block(
                [self._attempt(assignment, on_stage, job_logs[key]) for key, assignment in zip(keys, assignments, strict=True)],
                inbox=self._inbox,
                lock=self._lock,
                host_wait_s=self._host_wait_s,
                probe=self._probe,
                clock=self._clock,
                on_stage=on_stage,
                on_over=on_over,
                turn_s=self._turn_s,
            ).run()
        finally:
            with self._state:
                for key in keys:
                    self._stops.pop(key, None)
            self._running.release()

    def _attempt(self, assignment: Assignment, on_stage: OnBlockStage, job_log: JobLog) -> Attempt:
        key = (assignment.job_id, assignment.attempt)
        return Attempt(
            assignment,
            inbox=self._inbox,
            guard=lambda: self._living_guard(plan_for(assignment.workload.kind, assignment.capability)),
            models=self._models,
            lock=self._lock,
            lock_doubt=self._place.doubt,
            cache_dir=self._runs.parent,
            probe=self._probe,
            clock=self._clock,
            folder=self._runs / f"{os.getpid()}",
            on_stage=lambda stage, progress: on_stage(stage, progress, key),
            job_log=job_log,
            stopped=partial(self._why_stopped, key),
            host_wait_s=self._host_wait_s,
            running=self.services,
            kept=self._kept,
            access=self._access,
            telemetry=Telemetry(self._clock, self._telemetry, self._idle_power, assignment.capability),
        )

    def stop(self, job_id: str, attempt: int, why: Why) -> None:
        """Make an attempt end soon, in whatever stage it is. An attempt that has not begun ends as soon as it begins."""
        with self._state:
            self._stops[job_id, attempt] = why
            while len(self._stops) > REMEMBERED_STOPS:
                del self._stops[next(iter(self._stops))]
        self._inbox.put("stop")  # wakes the waiting thread, which then checks `stopped`

    def stop_service(self, service_id: str) -> None:
        """End the server that is idle between two jobs of its campaign, if it has this id."""
        self._kept.stop(service_id)

    def close(self) -> None:
        """Hand the running job back, and end the guard with all its processes."""
        with self._state:
            self._closed = True
        self._inbox.put("stop")
        with self._running:
            self._close_guards(0)
            self._kept.close()
            shutil.rmtree(self._runs / f"{os.getpid()}", ignore_errors=True)

    def _why_stopped(self, key: tuple[str, int]) -> Why | None:
        with self._state:
            return self._stops.get(key) or ("handed_back" if self._closed else None)

    def _living_guard(self, plan: GuardPlan) -> GuardProcess:
        """Return the guard with this plan. It is started if there is none, or if it has ended.

        Raises:
            DeviceFailed: The guard could not be started.
        """
        guard = self._guards.pop(plan, None)
        if guard is not None and not guard.alive:
            guard.close()
            guard = None
        if guard is None:
            self._close_guards(MOST_GUARDS - 1)
            try:
                guard = GuardProcess(self._inbox, plan, spawn=self._spawn)
            except OSError as error:  # out of memory, or too many processes
                raise DeviceFailed(f"no process for the measurement could be started: {error}") from error
        self._guards[plan] = guard
        return guard

    def _close_guards(self, remaining: int) -> None:
        """End the guards that were not used for the longest time, so that no more than `remaining` are left."""
        while len(self._guards) > remaining:
            self._guards.pop(next(iter(self._guards))).close()

    def _clear_stale_runs(self) -> None:
        """Remove the run folders of workers that were killed. A living worker's folder stays, because workers may share the cache."""
        for folder in self._runs.iterdir():
            with contextlib.suppress(ValueError):
                if not _process_lives(int(folder.name)):
                    shutil.rmtree(folder, ignore_errors=True)


def _process_lives(pid: int) -> bool:
    import psutil

    return bool(psutil.pid_exists(pid))
