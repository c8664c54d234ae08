"""Controls one process that samples beside a measurement.

Whatever happens to that process, the measurement goes on, and the samples say what happened.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue

from shared.clock import Clock
from worker.job_log import JobLog
from worker.samplers.looks import DIED, Looks, read_looks
from worker.samplers.loop import OPEN, OPEN_WITH_ENERGY
from worker.samplers.request import SampleRequest
from worker.supervisor.guard_process import GuardEvent, GuardProcess

HUNG = "the process that samples did not end when it was told to, and was killed: it was stopped, or a device's driver hangs"
END_PATIENCE_S = 5.0  # the samples are written already; a process that takes longer hangs in a driver
TOO_SHORT = "the measurement was over before the first sample could be taken"
ENDS = ("exited", "not_started", "lost")
SLICE_S = 0.05


class Sampling:
    """Starts a process that samples. `end` stops it, and returns what it has sampled.

    Args:
        number: Below 0, and a new one for each process of the guard that samples.
    """

    def __init__(self, guard: GuardProcess, request: SampleRequest, clock: Clock, number: int) -> None:
        self._guard, self._path, self._clock, self._number = guard, Path(request.path), clock, number
        self._events: SimpleQueue[GuardEvent] = SimpleQueue()
        self._opened = False  # whether the process has said that its samplers are open, or has ended
        guard.sample(number, request, self._events)

    def await_open(self, patience_s: float, check_stop: Callable[[], None]) -> bool | None:
        """Wait until the samplers are open. Returns whether they show an energy; None if the process ended, or needs longer.

        Raises:
            Stopped: `check_stop` says so.
        """
        event = self._await("phase", *ENDS, patience_s=patience_s, check_stop=check_stop)
        if event is None:
            return None
        self._opened = True
        if event.event in ENDS:
            self._events.put(event)  # `end` says how
        said = event.facts.get("phase")
        return said == OPEN_WITH_ENERGY if said in (OPEN, OPEN_WITH_ENERGY) else None

    def end(self, job_log: JobLog) -> Looks:
        """Stop to sample, and return the samples. This raises nothing, so that it may be called while an error is handled."""
        if not self._is_open():  # waiting for it would take longer than a job of no work
            self._guard.kill(self._number)
            self._guard.forget(self._number)
            return Looks(ended=TOO_SHORT)
        self._guard.end(self._number)
        event = self._await(*ENDS, patience_s=END_PATIENCE_S)
        if event is None:
            self._guard.kill(self._number)
            self._await("exited", "lost", patience_s=END_PATIENCE_S)
        self._guard.forget(self._number)
        looks = read_looks(self._path)
        if looks.ended == DIED:
            looks.ended = HUNG if event is None else f"{DIED}{_how(event)}"
        if looks.ended:
            job_log.add("warning", "system", f"telemetry: {looks.ended}")
        return looks

    def _is_open(self) -> bool:
        """Return whether the process has come to its first sample, or has already ended."""
        ended = []
        while True:
            try:
                event = self._events.get_nowait()
            except Empty:
                break
            if event.event in ENDS:
                ended.append(event)
            self._opened = self._opened or event.event != "started"
        for event in ended:
            self._events.put(event)
        return self._opened

    def _await(self, *names: str, patience_s: float, check_stop: Callable[[], None] = lambda: None) -> GuardEvent | None:
        until = self._clock.monotonic() + patience_s
        while (left := until - self._clock.monotonic()) > 0:
            check_stop()
            try:
                event = self._events.get(timeout=min(left, SLICE_S))
            except Empty:
                continue
            if event.event in names:
                return event
        return None


def _how(event: GuardEvent) -> str:
    """Return how a process ended, for people."""
    if event.event == "not_started":
        return f": it could not be started: {event.facts.get('error')}"
    if event.event == "lost":
        return ": the guard ended"
    facts = event.facts
    said = f" (signal {facts['signal']})" if facts.get("signal") else f" (exit code {facts.get('code')})"
    output = str(facts.get("output") or "").strip().splitlines()
    return said + (f": {output[-1][:300]}" if output else "")
