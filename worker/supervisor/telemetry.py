"""Starts the process that samples beside a measurement, stops it, and turns its samples into figures and a file.

Whatever happens to that process, the measurement goes on, and the telemetry says what happened.
"""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from shared.clock import Clock
from shared.columns import Feeds
from shared.energy import Window
from shared.telemetry import RUNTIME_KEY, SOURCE_KEY
from worker.job_log import JobLog
from worker.kinds.base import Derived, Repeat
from worker.samplers.looks import DIED, Looks, read_looks
from worker.samplers.loop import OPEN, OPEN_WITH_ENERGY
from worker.samplers.registry import default_samplers
from worker.samplers.request import SampleRequest
from worker.supervisor.beside import belongs_to, beside
from worker.supervisor.guard_process import GuardEvent, GuardProcess

_numbers = itertools.count(1)
MEASURING = "measuring"
MAKING_READY = ("starting", "loading", "preparing inputs")
OFF = "telemetry is turned off on this worker (FLEETMARK_WORKER_TELEMETRY_HZ=0)"
HUNG = "the process that samples did not end when it was told to, and was killed: it was stopped, or a device's driver hangs"
END_PATIENCE_S = 5.0  # the samples are written already; a process that takes longer hangs in a driver
TOO_SHORT = "the measurement was over before the first sample could be taken"
ENDS = ("exited", "not_started", "lost")
OPEN_PATIENCE_S = 20.0  # NVML may take seconds to load a driver that is not kept loaded
IDLE_S = 3.0  # how long the idle device is sampled before a measurement, where something shows its energy
IDLE_LASTS_S = 600.0  # how long an idle power counts for the measurements that follow
SLICE_S = 0.05


@dataclass(frozen=True)
class TelemetryOptions:
    """Says what to sample, and how often. `hz` is 0 to sample nothing."""

    hz: float = 10.0
    metrics_url: str = ""
    samplers: tuple[str, ...] = ()  # none for those that run beside every measurement
    root: str = "/"
    idle_s: float = IDLE_S


@dataclass
class _Phase:
    at: float
    where: str
    index: int
    phase: str


class Telemetry:
    """Samples beside one measurement at a time: `begin`, then `phase` at each phase of a measured process, then `end`.

    The process that samples starts with the first warm-up: its own start then disturbs neither a load nor a timed inference. It starts
    before the first load only where the idle device is sampled.
    """

    def __init__(self, clock: Clock, options: TelemetryOptions) -> None:
        self._clock, self._options = clock, options
        self._guard: GuardProcess | None = None
        self._events: SimpleQueue[GuardEvent] = SimpleQueue()
        self._number = 0
        self._started = False  # whether the process was asked for
        self._opened = False  # whether the process has said that its samplers are open, or has ended
        self._path = Path()
        self._uses: Feeds = ""
        self._phases: list[_Phase] = []
        self._idle: Window | None = None
        self._looks = Looks(ended=OFF)
        self._shows_energy: bool | None = None  # whether this device does; None if that is not known yet
        self._idle_w: dict[str, float] = {}  # of the last idle time, by what jobs use
        self._idle_until: dict[str, float] = {}

    def begin(self, guard: GuardProcess, folder: Path, capability: str, check_stop: Callable[[], None]) -> None:
        """Prepare to sample. Call it while the device is idle and no other worker measures on it.

        It waits for the process only if the idle device has to be sampled first: at the first measurement, and every `IDLE_LASTS_S` after
        that, if something shows the energy of this device.
        """
        self._phases, self._idle, self._guard, self._looks = [], None, None, Looks(ended=OFF)
        self._uses = belongs_to(capability)
        if not self._options.hz:
            return
        self._number, self._events, self._guard, self._opened = -next(_numbers), SimpleQueue(), guard, False
        self._path = folder / f"telemetry-{-self._number}"
        self._started = False
        if self._shows_energy is not False and self._clock.monotonic() >= self._idle_until.get(self._uses, -math.inf):
            self._start(guard)
            self._sample_idle(check_stop)

    def phase(self, where: str, index: int, phase: str) -> None:
        """Note that a measured process begins a phase. An empty `where` means that no process runs."""
        if self._guard is None:
            return
        self._phases.append(_Phase(self._clock.monotonic(), where, index, phase))
        if where and phase not in MAKING_READY and not self._started:
            self._start(self._guard)

    def end(self, job_log: JobLog) -> None:
        """Stop to sample, and read the samples. This raises nothing, so that it may be called while an error is handled."""
        if self._guard is None:
            return
        self.phase("", 0, "")
        guard, self._guard = self._guard, None
        if not self._started or not self._is_open():  # waiting for it would take longer than a job of no work
            if self._started:
                guard.kill(self._number)
                guard.forget(self._number)
            self._looks = Looks(ended=TOO_SHORT)
            return
        guard.end(self._number)
        event = self._await("exited", "not_started", "lost", patience_s=END_PATIENCE_S)
        if event is None:
            guard.kill(self._number)
            self._await("exited", "lost", patience_s=END_PATIENCE_S)
        guard.forget(self._number)
        self._looks = read_looks(self._path)
        if self._looks.ended == DIED:
            self._looks.ended = HUNG if event is None else f"{DIED}{_how(event)}"
        if self._looks.ended:
            job_log.add("warning", "system", f"telemetry: {self._looks.ended}")

    def added_to(self, derived: Derived, repeats: Sequence[Repeat], loading: str) -> tuple[Derived, dict[str, Any]]:
        """Return what was computed of these repeats with the sampled figures, and the facts that say how those were found.

        Args:
            loading: The series of a record that holds how long making ready took.
        """
        if self._idle is not None:
            self._idle_w.pop(self._uses, None)
        figures, found = beside(self._looks, self._windows(repeats, loading), self._uses, self._idle, self._idle_w.get(self._uses))
        if found.energy.idle_w is not None:
            self._idle_w[self._uses] = found.energy.idle_w
        facts: dict[str, Any] = {RUNTIME_KEY: found.model_dump(mode="json")}
        if found.energy.source:
            facts[SOURCE_KEY] = found.energy.source
        summary, outcome = derived.summary, derived.outcome
        if summary is not None:
            summary = summary.model_copy(update={"figures": [*summary.figures, *figures]})
        if outcome is not None:
            outcome = outcome.model_copy(update={"figures": (*outcome.figures, *figures)})
        return replace(derived, summary=summary, outcome=outcome), facts

    def take(self) -> bytes | None:
        """Return the samples as `telemetry.npz`, once. None if there are none, for example because nothing was measured."""
        looks, self._looks = self._looks, Looks(ended=OFF)
        return pack(looks, self._phases) if looks.columns and looks.times else None

    def _request(self, guard: GuardProcess) -> SampleRequest:
        options = self._options
        names = options.samplers or tuple(name for name in default_samplers() if name != "prometheus" or options.metrics_url)
        return SampleRequest(
            path=str(self._path),
            samplers=names,
            period_s=1 / options.hz,
            guard=guard.pid,
            root=options.root,
            metrics_url=options.metrics_url,
            cuda_visible=guard.steering.get("CUDA_VISIBLE_DEVICES"),
            cuda_order=guard.steering.get("CUDA_DEVICE_ORDER", ""),
        )

    def _sample_idle(self, check_stop: Callable[[], None]) -> None:
        opened = self._await("phase", "exited", "not_started", "lost", patience_s=OPEN_PATIENCE_S, check_stop=check_stop)
        said = opened.facts.get("phase") if opened is not None else None
        self._opened = opened is not None
        if said not in (OPEN, OPEN_WITH_ENERGY):
            if opened is not None:
                self._events.put(opened)  # it has ended; `end` says so
            return
        self._shows_energy = said == OPEN_WITH_ENERGY
        if not self._shows_energy:
            return
        begin = self._clock.monotonic()
        while (left := begin + self._options.idle_s - self._clock.monotonic()) > 0:
            check_stop()
            self._clock.sleep(min(SLICE_S, left))
        self._idle = Window(begin, self._clock.monotonic() - begin, 0)
        self._idle_until[self._uses] = self._clock.monotonic() + IDLE_LASTS_S

    def _start(self, guard: GuardProcess) -> None:
        guard.sample(self._number, self._request(guard), self._events)
        self._started = True

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

    def _windows(self, repeats: Sequence[Repeat], loading: str) -> list[Window]:
        """Return when each repeat measured. A repeat that was measured again ran in its last try.

        A record whose timed phase has the name of a series says how long it took, and each sample of the series is one inference. For any
        other record, it is the time until the process went on to something else.
        """
        times: dict[int, tuple[float, float]] = {}
        for phase, following in pairwise(self._phases):
            if phase.where == "repeat" and phase.phase == MEASURING:
                times[phase.index] = (phase.at, following.at - phase.at)
        return [_window(*times[index], repeat, loading) for index, repeat in enumerate(repeats) if index in times]


def _window(begin_s: float, until_next_s: float, repeat: Repeat, loading: str) -> Window:
    record = repeat.record
    timed = [name for name in record.phases if name in record.series and name != loading]
    if len(timed) != 1:
        return Window(begin_s, until_next_s, 0)
    return Window(begin_s, record.phases[timed[0]].wall_ns / 1e9, len(record.series[timed[0]].values))


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


def pack(looks: Looks, phases: Sequence[_Phase]) -> bytes:
    """Return the samples as a compressed .npz file, in the format `shared.telemetry.TELEMETRY_FORMAT`."""
    import numpy as np  # imported here, because an idle worker does not need its 15 MB of memory

    from shared.telemetry import TELEMETRY_FORMAT, Header, PhaseTime

    begin = looks.times[0]
    header = Header(
        columns=tuple(looks.columns),
        phases=tuple(PhaseTime(at=one.at - begin, where=one.where, index=one.index, phase=one.phase) for one in without_voided(phases)),
        period_s=looks.period_s,
        started_at=looks.started_at,
        cpu_s=looks.cpu_s,
        ended=looks.ended,
    )
    file = io.BytesIO()
    np.savez_compressed(
        file,
        format=np.array(TELEMETRY_FORMAT, dtype=np.int64),
        header=np.frombuffer(header.model_dump_json().encode(), dtype=np.uint8),
        t=np.asarray(looks.times, dtype=np.float64) - begin,
        gap=np.asarray(looks.gaps, dtype=np.float64) > 0,
        values=np.array([np.asarray(values, dtype=np.float64) for values in looks.values]),
    )
    return file.getvalue()


def without_voided(phases: Sequence[_Phase]) -> list[_Phase]:
    """Return the phases, with a mark on those of a repeat that was measured again."""
    last = {(one.where, one.index): place for place, one in enumerate(phases) if one.phase == "starting"}
    return [
        replace(one, phase=f"{one.phase} (void)") if one.where and place < last.get((one.where, one.index), 0) else one
        for place, one in enumerate(phases)
    ]
