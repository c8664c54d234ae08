"""Runs one measured process for the supervisor, from its start until its record is read."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import psutil

from shared.clock import Clock
from shared.errors import DeadlineExceeded, DeviceFailed, JobError, RunnerDied
from shared.series import Record
from worker.job_log import JobLog
from worker.measured.request import RunRequest
from worker.runner.record_file import NO_ROOM, read_record
from worker.supervisor.deaths import how_it_died, with_output
from worker.supervisor.guard_process import GuardEvent, GuardProcess, kill_group
from worker.supervisor.host_turn import STOPPED_PATIENCE_S
from worker.supervisor.outcome import Stopped

_numbers = itertools.count(1)  # numbers of the runs, so that a late event of an earlier attempt is not taken for one of this attempt

END_EARLY_S = 15.0  # how long a process that shall end early may take to record what it has
REAP_PATIENCE_S = 10.0  # a killed process that has not ended by then hangs in a driver
TICK_S = 0.5  # how often the supervisor checks while it waits. A warm-up lasts a second, so each repeat is checked under load.
UNDER_LOAD = ("warming up", "measuring")


@dataclass
class TimeLimit:
    """Holds the time limit for all processes of one attempt together. Time in which they could not run does not count."""

    timeout_s: float
    ends_at: float  # monotonic seconds


@dataclass(frozen=True)
class Ran:
    """Holds what is known of a measured process that ended with a record."""

    record: Record
    cpu_s: float
    still_s: float  # how long it could not run although the machine was awake
    asleep_s: float  # how long the machine was suspended meanwhile
    still_times: int


class ProcessRun:
    """Starts one measured process, waits for its end, and kills it when its time is over."""

    def __init__(
        self,
        guard: GuardProcess,
        *,
        inbox: SimpleQueue[Any],
        next_event: Callable[[float], Any],
        clock: Clock,
        limit: TimeLimit,
        where: str,
        on_phase: Callable[[str], None],
        on_tick: Callable[[], None],
        on_news: Callable[[str], None] = lambda _text: None,
        on_check: Callable[[], None] = lambda: None,
        ends_early: bool = False,
        job_log: JobLog,
        software: Callable[[], str],
    ) -> None:
        """Prepare the run.

        Args:
            next_event: Takes the next event from the inbox, or returns None after the given number of seconds. It may raise to end the run.
            where: Which process of the job this is, such as `repeat 1 of 6`.
            on_phase: Called with the name of each phase when it begins.
            on_news: Called with a phase and what it tells while it goes on, such as `measuring (40 % done, 31200 requests/s)`.
            on_check: Called about twice a second in every phase. It may raise to end the run.
            ends_early: Whether the process records what it has if it is told to end early; see `KindEntry.ends_early`.
            on_tick: Called about twice a second during the warm-up and the measurement.
            software: Returns the runtime that is measured, with its version. Called only when the process has died.
        """
        self._guard, self._inbox, self._next_event, self._clock, self._limit = guard, inbox, next_event, clock, limit
        self._where, self._on_phase, self._on_tick, self._log, self._software = where, on_phase, on_tick, job_log, software
        self._on_news, self._on_check, self._ends_early = on_news, on_check, ends_early
        self._number = next(_numbers)
        self._phase = "starting"
        self._runner: int | None = None  # its process id, which is also the id of its process group
        self._never_began = False  # whether the guard could not start it
        self._credited_s = 0.0  # how far the limit was already moved because the process stood still
        self._stopped_since: float | None = None
        self.cpu_s = 0.0  # CPU time of the process, known when it has ended
        self.partial: Record | None = None
        """What the process had measured when it was ended early. The call of `run` raises why."""

    def run(self, request: RunRequest) -> Ran:
        """Run the process to its end and return its record.

        Raises:
            JobError: The process did not end with a record.
        """
        self._guard.run(self._number, request)
        self._on_phase(self._phase)
        ended, gone = None, False
        try:
            while ended is None:
                left = self._limit.ends_at - self._clock.monotonic() if self._stopped_since is None else TICK_S
                event = self._next_event(max(0.0, min(left, TICK_S)))
                if event is None:
                    self._tick()
                    self._on_check()
                    if self._is_over():
                        has_ended = self._end_early(request)
                        gone = True
                        event = self._kill_late(ended=has_ended)
                if isinstance(event, GuardEvent):
                    ended = self._take(event)
        except JobError as error:
            # A job that goes back to its queue is measured again, so nothing of it is kept.
            if not gone and not (isinstance(error, Stopped) and error.why == "handed_back"):
                gone = self._end_early(request)
            raise
        finally:
            if ended is None and not gone:
                self._end()
        self._credit(ended.facts)
        # Our own delay in noticing the exit does not count against the limit.
        self._limit.ends_at += max(0.0, self._clock.monotonic() - ended.facts["at"])
        return self._read(ended, Path(request.record_path))

    def _take(self, event: GuardEvent) -> GuardEvent | None:
        """Handle one event of this run. Return the event if the process has ended, else None."""
        facts = event.facts
        if event.event == "lost" and facts["pid"] == self._guard.pid:
            if self._runner is not None:
                kill_group(self._runner)  # the guard is gone, so nobody else would kill it
            died = RunnerDied if self._runner is not None else DeviceFailed  # the model had no part in it before its process began
            raise died(f"the guard process ended in {self._where} while {self._phase} (exit code {facts['returncode']})")
        if facts.get("id") != self._number:
            return None
        if event.event == "not_started":
            self._never_began = True
            raise DeviceFailed(
                f"no process for {self._where} could be started: {facts['error']}; "
                "end other programs on this device, or allow it more processes and memory"
            )
        if event.event == "started":
            self._runner = facts["pid"]
        elif event.event == "phase":
            phase, _, news = facts["phase"].partition(" (")
            if news and phase == self._phase:
                self._on_news(facts["phase"])
            else:
                self._phase = facts["phase"]
                self._on_phase(self._phase)
        elif event.event == "stillness":
            self._credit(facts)
        return event if event.event == "exited" else None

    # Time

    def _tick(self) -> None:
        """Check whether the process is stopped. If it runs and is under load, call `on_tick`.

        Raises:
            DeviceFailed: The process has been stopped for too long.
        """
        now = self._clock.monotonic()
        if not self._is_stopped():
            self._stopped_since = None
            if self._phase in UNDER_LOAD:
                self._on_tick()
            return
        if self._stopped_since is None:
            self._stopped_since = now
            self._log.add("warning", "system", f"the measured process of {self._where} was stopped while {self._phase}")
        elif now - self._stopped_since > STOPPED_PATIENCE_S:
            raise DeviceFailed(
                f"the measured process of {self._where} was stopped (SIGSTOP or a frozen container) for "
                f"{now - self._stopped_since:.0f} s, and nobody continued it"
            )

    def _is_stopped(self) -> bool:
        try:
            return self._runner is not None and psutil.Process(self._runner).status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
        except psutil.Error:  # it has ended, and its event will follow
            return False

    def _is_over(self) -> bool:
        """Return whether the process has used up its time.

        The guard is asked before the answer is yes: the process may have stood still in the last seconds, perhaps together with this one.
        """
        if self._clock.monotonic() < self._limit.ends_at or self._is_stopped() or not self._guard.alive:
            return False
        self._guard.ask(self._number)
        answer = self._await("stillness", "exited", "lost", "not_started")
        if answer is None:  # the guard itself is stopped, so we only know that the time has passed
            return True
        if answer.event != "stillness":
            self._inbox.put(answer)  # the loop in `run` handles it
            return False
        self._credit(answer.facts)
        return self._clock.monotonic() >= self._limit.ends_at

    def _credit(self, facts: dict[str, Any]) -> None:
        """Extend the limit by the time in which the process could not run."""
        still_s = facts["still_s"]
        self._limit.ends_at += still_s - self._credited_s
        self._credited_s = still_s

    def _end_early(self, request: RunRequest) -> bool:
        """Tell the process to end, and read what it has measured into `partial`. Return whether it has ended."""
        if not self._ends_early or self._runner is None or self._never_began or not self._guard.alive:
            return False
        request.end_path.touch()
        event = self._await("exited", "lost", "not_started", within_s=END_EARLY_S)
        if event is None or event.event != "exited":
            return event is not None
        record = read_record(Path(request.record_path), event.facts["code"])
        if record is not None and not record.error_kind:
            self.partial = record
        self.cpu_s = event.facts["cpu_s"] or (record.facts.get("process_cpu_s", 0.0) if record else 0.0)
        return True

    def _kill_late(self, *, ended: bool) -> GuardEvent | None:
        """Kill the process because its time is over.

        Args:
            ended: Whether it was told so before, and has ended.

        Returns:
            The event of its end, if it had ended by itself before the kill.

        Raises:
            DeadlineExceeded: The process was killed.
        """
        event = None if ended else self._end()
        if event is None or event.facts.get("killed_by_us"):
            raise DeadlineExceeded(
                f"not done within timeout_s = {self._limit.timeout_s:g}: killed in {self._where} while {self._phase}; "
                "measure fewer inferences or repeats, or give it more time"
            )
        return event

    def _end(self) -> GuardEvent | None:
        """Kill the process if it is still alive, and wait until the guard reports its end.

        Returns:
            The event of the end of the process or of the guard. None if no such event comes in time.
        """
        if self._never_began or not self._guard.alive:
            return None
        self._guard.kill(self._number)
        event = self._await("exited", "lost", "not_started")
        if event is None:
            self._log.add("error", "infrastructure", f"no end of a killed process within {REAP_PATIENCE_S:g} s: a device's driver may hang")
            self._guard.destroy()
        return event

    def _await(self, *names: str, within_s: float | None = None) -> GuardEvent | None:
        """Return the next event with one of these names for this run or its guard. None if none comes in time."""
        end = self._clock.monotonic() + (REAP_PATIENCE_S if within_s is None else within_s)
        while (left := end - self._clock.monotonic()) > 0:
            try:
                event = self._inbox.get(timeout=left)
            except Empty:
                continue
            if not isinstance(event, GuardEvent):
                continue
            ours = event.facts.get("pid") == self._guard.pid if event.event == "lost" else event.facts.get("id") == self._number
            if ours and event.event in names:
                return event
            if ours:
                self._take(event)  # the process may begin, or go into its next phase, meanwhile
        return None

    # The record

    def _read(self, event: GuardEvent, record_path: Path) -> Ran:
        facts = event.facts
        output: str = facts["output"]
        record = read_record(record_path, facts["code"])
        self.cpu_s = facts["cpu_s"] or (record.facts.get("process_cpu_s", 0.0) if record else 0.0)
        if output:
            self._log.add("warning" if facts["code"] != 0 else "info", "application", output)
        if record is None:
            died = DeviceFailed if facts["code"] == NO_ROOM else RunnerDied
            raise died(with_output(how_it_died(facts, self._where, self._phase, self._software()), output))
        return Ran(record, self.cpu_s, facts["still_s"], facts["asleep_s"], facts["times"])

    @property
    def phase(self) -> str:
        return self._phase
