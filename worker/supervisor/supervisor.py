"""Runs one attempt at a time from outside: the deadline, the kill and the captured output are its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from shared.clock import Clock
from shared.errors import DeviceFailed, InvalidInput
from shared.protocol.messages import Assignment
from worker.hardware.noise_probe import NoiseProbe
from worker.job_log import JobLog
from worker.models import ModelStore
from worker.supervisor.attempt import Attempt, OnStage
from worker.supervisor.guard_process import GuardProcess
from worker.supervisor.host_lock import HostLock
from worker.supervisor.lock_place import lock_place
from worker.supervisor.outcome import Outcome, Why

HOST_WAIT_S = 3_600.0  # the timeout of a job that names none
REMEMBERED_STOPS = 256  # a stop may come before its job does; more than a queue's prefetch can hold


class Supervisor:
    """`run` blocks its thread; `stop` and `close` may come from any other.

    Args:
        cache_dir: where runs keep their records while they last (`runs/`); made if missing.
        lock_path: the host's lock; by default the place where every worker of the host looks.
        host_wait_s: how long another worker of the host may measure before an attempt gives up.
        spawn: start each repeat in a new interpreter even where forking is possible.
    """

    def __init__(
        self,
        *,
        cache_dir: Path,
        models: ModelStore,
        clock: Clock,
        lock_path: Path | None = None,
        host_wait_s: float = HOST_WAIT_S,
        spawn: bool = False,
    ) -> None:
        self._runs = cache_dir / "runs"
        self._models, self._clock, self._spawn = models, clock, spawn
        self._host_wait_s = host_wait_s
        self._place = lock_place(lock_path)
        self._lock = HostLock(self._place.path)
        self._probe = NoiseProbe(clock)
        self._inbox: SimpleQueue[Any] = SimpleQueue()
        self._guard: GuardProcess | None = None
        self._running = threading.Lock()
        self._state = threading.Lock()  # of everything below
        self._stops: dict[tuple[str, int], Why] = {}
        self._closed = False

    def start(self) -> None:
        """Start the guard, which imports the runtimes, ahead of the first job. Returns before it is done.

        Raises:
            InvalidInput: the cache folder cannot be written.
        """
        try:
            self._runs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInput(
                f"the cache folder {self._runs.parent} cannot be written ({error.strerror}): "
                "make it writable, free some space, or set FLEETMARK_WORKER_CACHE_DIR to another"
            ) from error
        self._clear_stale_runs()
        self._probe.remember(self._living_guard().pid)

    def run(self, assignment: Assignment, on_stage: OnStage, job_log: JobLog | None = None) -> Outcome:
        """Run one attempt to its end, whatever that is. Only defects raise.

        Args:
            on_stage: told what goes on and how far it is (0..1, or None). It is called while a process is measured:
                it must note what it is told and return.
            job_log: what happens is written into it too, as it happens.
        """
        if not self._running.acquire(blocking=False):
            raise RuntimeError("a supervisor runs one attempt at a time")
        key = (assignment.job_id, assignment.attempt)
        try:
            return Attempt(
                assignment,
                inbox=self._inbox,
                guard=self._living_guard,
                models=self._models,
                lock=self._lock,
                lock_doubt=self._place.doubt,
                probe=self._probe,
                clock=self._clock,
                folder=self._runs / f"{os.getpid()}",
                on_stage=on_stage,
                job_log=job_log or JobLog(key, self._clock),
                stopped=lambda: self._why_stopped(key),
                host_wait_s=self._host_wait_s,
            ).run()
        finally:
            with self._state:
                self._stops.pop(key, None)
            self._running.release()

    def stop(self, job_id: str, attempt: int, why: Why) -> None:
        """Have an attempt end soon, in whatever stage it is. One that has not begun will end at once; others are not touched."""
        with self._state:
            self._stops[job_id, attempt] = why
            while len(self._stops) > REMEMBERED_STOPS:
                del self._stops[next(iter(self._stops))]
        self._inbox.put("stop")  # whoever waits looks again

    def close(self) -> None:
        """Hand back what is running and end the guard with every process it has."""
        with self._state:
            self._closed = True
        self._inbox.put("stop")
        with self._running:
            if self._guard is not None:
                self._guard.close()
                self._guard = None
            shutil.rmtree(self._runs / f"{os.getpid()}", ignore_errors=True)

    def _why_stopped(self, key: tuple[str, int]) -> Why | None:
        with self._state:
            return self._stops.get(key) or ("handed_back" if self._closed else None)

    def _living_guard(self) -> GuardProcess:
        if self._guard is None or not self._guard.alive:
            if self._guard is not None:
                self._guard.close()
            try:
                self._guard = GuardProcess(self._inbox, spawn=self._spawn)
            except OSError as error:  # no memory, or too many processes
                self._guard = None
                raise DeviceFailed(f"no process for the measurement could be started: {error}") from error
        return self._guard

    def _clear_stale_runs(self) -> None:
        """Remove the folders of workers that were killed; another living worker may share the cache."""
        for folder in self._runs.iterdir():
            with contextlib.suppress(ValueError):
                if not _process_lives(int(folder.name)):
                    shutil.rmtree(folder, ignore_errors=True)


def _process_lives(pid: int) -> bool:
    import psutil

    return bool(psutil.pid_exists(pid))
