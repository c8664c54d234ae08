"""Samples beside the measurement of one attempt, and turns the samples into figures and a file."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from shared.clock import Clock
from shared.columns import Feeds
from shared.energy import Window
from shared.series import TIMED_SPANS, Record
from shared.telemetry import RUNTIME_KEY, SOURCE_KEY
from worker.job_log import JobLog
from worker.kinds.base import Derived, Repeat
from worker.samplers.looks import Looks
from worker.samplers.pages import page_of
from worker.samplers.registry import METRICS_PAGE, default_samplers, told_by_services
from worker.samplers.request import SampleRequest
from worker.supervisor.beside import belongs_to, beside, per_token
from worker.supervisor.guard_process import GuardProcess
from worker.supervisor.idle_power import IdlePower
from worker.supervisor.joined_looks import joined
from worker.supervisor.sampling import TOO_SHORT, Sampling
from worker.supervisor.telemetry_file import Phase, pack

_numbers = itertools.count(1)
MEASURING = "measuring"
MAKING_READY = ("starting", "loading", "preparing inputs")
OFF = "telemetry is turned off on this worker (FLEETMARK_WORKER_TELEMETRY_HZ=0)"
IDLE_S = 3.0  # how long the idle device is sampled before a measurement, where something shows its energy


@dataclass(frozen=True)
class TelemetryOptions:
    """Says what to sample, and how often. `hz` is 0 to sample nothing."""

    hz: float = 10.0
    metrics_url: str = ""
    samplers: tuple[str, ...] = ()  # none for those that run beside every measurement
    root: str = "/"
    hidden: str = ""  # why this worker may not see its device, if so
    idle_s: float = IDLE_S


@dataclass(frozen=True)
class WatchedService:
    """Says which service is under load, and where. `settings` are those of its clients that a sampler needs."""

    type: str
    address: str = field(repr=False)
    settings: dict[str, Any]


NO_SERVICE = WatchedService("", "", {})


class Telemetry:
    """Samples beside one attempt: `go_on` at the beginning of each of its turns, `phase` at each phase of a measured process, then `pause`.

    In each turn, the process that samples starts with the first warm-up: its own start then disturbs neither a load nor a timed inference.
    It starts before the first load only where the idle device is sampled. It lives for one turn. So no sample of another job's turn can be
    among those of this attempt, and its CPU time counts as work of this worker when the machine's noise is judged.
    """

    def __init__(self, clock: Clock, options: TelemetryOptions, idle_power: IdlePower, capability: str) -> None:
        self._clock, self._options, self._idle_power = clock, options, idle_power
        self._uses: Feeds = belongs_to(capability)
        self._turn: tuple[GuardProcess, Path] | None = None  # who starts the process that samples, and where; None between the turns
        self._sampling: Sampling | None = None  # None while nothing is sampled
        self._turns: list[Looks] = []
        self._phases: list[Phase] = []
        self._service: WatchedService | None = None
        self._idle: Window | None = None  # when the idle device was sampled, if that was in the first turn of this attempt

    def go_on(self, guard: GuardProcess, folder: Path, check_stop: Callable[[], None]) -> None:
        """Prepare to sample, unless that was done. Call it while the device is idle and no other worker measures on it.

        It waits only if the idle device has to be sampled (see `IdlePower`), before the first process of the attempt.

        Raises:
            Stopped: `check_stop` says so. `pause` must be called then, too.
        """
        if self._turn is not None or not self._options.hz:
            return
        self._turn = guard, folder
        if not self._phases and self._idle_power.is_wanted(self._uses):
            self._sampling = self._started(guard, folder)
            self._idle = self._idle_power.sample(self._sampling, self._uses, check_stop)

    def watch(self, service: WatchedService | None, job_log: JobLog) -> None:
        """Note which service the next process puts under load. If it is elsewhere than before, what sampled until now ends."""
        if service == self._service:
            return
        self._service = service
        sampling, self._sampling = self._sampling, None
        if sampling is not None:
            self._turns.append(self._looks_of(sampling, job_log))

    def phase(self, where: str, index: int, phase: str) -> None:
        """Note that a measured process begins a phase. An empty `where` means that no process runs."""
        if self._turn is None:
            return
        self._phases.append(Phase(self._clock.monotonic(), where, index, phase))
        if where and phase not in MAKING_READY and self._sampling is None:
            self._sampling = self._started(*self._turn)

    def pause(self, job_log: JobLog) -> None:
        """Stop to sample, unless that was done. This raises nothing, so that it may be called while an error is handled."""
        if self._turn is None:
            return
        self.phase("", 0, "")
        sampling, self._sampling, self._turn = self._sampling, None, None
        if sampling is None:  # only loads ran in this turn
            return
        self._turns.append(self._looks_of(sampling, job_log))

    def _looks_of(self, sampling: Sampling, job_log: JobLog) -> Looks:
        """Stop to sample, and return the samples. The first ones of the attempt may be those of the idle device."""
        looks = sampling.end(job_log)
        for name in told_by_services(tuple(looks.absent)):  # figures say why others are absent, where that matters
            job_log.add("warning", "system", f"telemetry has no statistics of the service: {looks.absent[name]}")
        if self._idle is not None and not self._turns:
            self._idle_power.keep(looks, self._idle, self._uses)
        return looks

    def added_to(self, derived: Derived, repeats: Sequence[Repeat], loading: str) -> tuple[Derived, dict[str, Any]]:
        """Return what was computed of these repeats with the sampled figures, and the facts that say how those were found.

        Args:
            loading: The series of a record that holds how long making ready took.
        """
        windows = self._windows(repeats, loading)
        figures, found = beside(self._looks(), windows, self._uses, self._idle, self._idle_power.watts(self._uses))
        if self._options.hidden:
            figures = tuple(one if one.value is not None else one.model_copy(update={"missing": self._options.hidden}) for one in figures)
            found = found.model_copy(update={"energy": found.energy.model_copy(update={"missing": self._options.hidden})})
        facts: dict[str, Any] = {RUNTIME_KEY: found.model_dump(mode="json")}
        if found.energy.source:
            facts[SOURCE_KEY] = found.energy.source
        if derived.tokens_per_unit:
            figures = (*figures, per_token(figures, derived.tokens_per_unit))
        summary, outcome = derived.summary, derived.outcome
        if summary is not None:
            summary = summary.model_copy(update={"figures": [*summary.figures, *figures]})
        if outcome is not None:
            outcome = outcome.with_figures(*figures)
        return replace(derived, summary=summary, outcome=outcome), facts

    def take(self) -> bytes | None:
        """Return the samples as `telemetry.npz`, once. None if there are none, for example because nothing was measured."""
        looks, self._turns = self._looks(), []
        return pack(looks, self._phases) if looks.columns and looks.times else None

    def _looks(self) -> Looks:
        if not self._turns:
            return Looks(ended=TOO_SHORT if self._options.hz else self._options.hidden or OFF)
        self._turns = [joined(self._turns)]
        return self._turns[0]

    def _started(self, guard: GuardProcess, folder: Path) -> Sampling:
        number = next(_numbers)
        return Sampling(guard, self._request(guard, folder / f"telemetry-{number}"), self._clock, -number)

    def _request(self, guard: GuardProcess, path: Path) -> SampleRequest:
        options, service = self._options, self._service or NO_SERVICE
        page = options.metrics_url or page_of(service.type, service.address, service.settings)
        names = options.samplers or tuple(name for name in default_samplers(service.type) if name != METRICS_PAGE or page)
        names = told_by_services(names) if options.hidden else names
        return SampleRequest(
            path=str(path),
            samplers=names,
            period_s=1 / options.hz,
            guard=guard.pid,
            root=options.root,
            metrics_url=page,
            service=service.type,
            service_address=service.address,
            service_settings=service.settings,
            cuda_visible=guard.steering.get("CUDA_VISIBLE_DEVICES"),
            cuda_order=guard.steering.get("CUDA_DEVICE_ORDER", ""),
        )

    def _windows(self, repeats: Sequence[Repeat], loading: str) -> list[Window]:
        """Return when each repeat measured. A repeat that was measured again ran in its last try.

        A record may say in its facts when its units were timed (`TIMED_SPANS`). Otherwise a timed phase with the name of a series says how
        long it took, and each sample of the series is one inference. For any other record, it is the time until the process went on to
        something else.
        """
        times: dict[int, tuple[float, float]] = {}
        for phase, following in pairwise(self._phases):
            if phase.where == "repeat" and phase.phase == MEASURING:
                times[phase.index] = (phase.at, following.at - phase.at)
        return [window for index, repeat in enumerate(repeats) if index in times for window in _of_repeat(*times[index], repeat, loading)]


def _of_repeat(begin_s: float, until_next_s: float, repeat: Repeat, loading: str) -> list[Window]:
    record = repeat.record
    if spans := record.facts.get(TIMED_SPANS):
        return [Window(begin_s + after_s, seconds, units) for after_s, seconds, units in spans]
    return [_window(begin_s, until_next_s, record, loading)]


def _window(begin_s: float, until_next_s: float, record: Record, loading: str) -> Window:
    timed = [name for name in record.phases if name in record.series and name != loading]
    if len(timed) != 1:
        return Window(begin_s, until_next_s, 0)
    return Window(begin_s, record.phases[timed[0]].wall_ns / 1e9, len(record.series[timed[0]].values))
