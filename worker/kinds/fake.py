"""Measures steps whose durations are all known in advance. It needs no input and no engine.

Its specification is `{"steps": 3, "step_s": [0.002, 0.004], "prepare_s": 0.01}`: how many steps are timed, how long each takes (after the
last value the list starts again), and how long it takes to make them ready. A step waits by reading the clock. With `refuses`, a text, the
work refuses to begin, for that reason. The facts say how long each step really took, by the kind's own clock.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import cycle
from statistics import median
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from shared.errors import ModelInvalid
from shared.series import Phase, Record, Series
from worker.kinds.base import Derived, Repeat
from worker.measured.hot_loop import time_calls_undisturbed, warm_up
from worker.measured.memory import MemoryMeter
from worker.measured.request import Announce, RunRequest

if TYPE_CHECKING:
    from shared.workloads import Workload

PREPARE, STEP, WARMUP = "prepare", "step", "warmup"


class FakeMeasure:
    """Follows a schedule, as described at the top of this module. No recipe asks for this kind."""

    stops_on = "the median step"
    loading = PREPARE

    def run(self, request: RunRequest, announce: Announce) -> Record:
        spec = request.spec
        memory = MemoryMeter()
        announce("loading")
        memory.start_phase()
        if spec.get("refuses"):
            raise ModelInvalid(spec["refuses"])
        before = perf_counter_ns()
        _wait_until(before + int(spec.get("prepare_s", 0.0) * 1e9))
        prepare_ns = perf_counter_ns() - before
        phases = {PREPARE: Phase(PREPARE, prepare_ns, peak_mb=memory.peak_mb())}
        series = {PREPARE: Series(PREPARE, values=array("q", [prepare_ns]))}
        facts: dict[str, Any] = {"memory_method": memory.method, "runtime": {"runtime": "fake"}}
        if request.load_only:
            return Record(phases, series, facts)
        durations = cycle([int(seconds * 1e9) for seconds in spec["step_s"]])
        known: list[int] = []

        def step() -> None:
            begin = perf_counter_ns()
            _wait_until(begin + next(durations))
            known.append(perf_counter_ns() - begin)

        samples = array("q", bytes(8 * spec["steps"]))
        announce("warming up")
        memory.start_phase()
        warmups = warm_up(step, request.warmup_min_calls, request.warmup_min_s, request.warmup_max_s)
        announce("measuring")
        wall_ns, cpu_ns = time_calls_undisturbed(step, samples)
        phases[STEP] = Phase(STEP, wall_ns, cpu_ns, memory.peak_mb())
        series |= {WARMUP: Series(WARMUP, values=warmups), STEP: Series(STEP, values=samples)}
        facts["runtime"]["steps_ns"] = known
        return Record(phases, series, facts)

    def further_loads(self, workload: Workload) -> int:
        del workload
        return 0

    def stop_value(self, record: Record) -> float:
        """Return the median of one repeat's steps, in milliseconds."""
        return median(record.series[STEP].values) / 1e6

    def derive(self, workload: Workload, repeats: Sequence[Repeat], loads: Sequence[Record], stopped_because: str) -> Derived:
        # These need pydantic and numpy, which the guard must not hold in memory.
        from shared.figures import Figure, FigureKind, Outcome
        from shared.stats import describe, median_interval_of_repeats

        medians = [self.stop_value(repeat.record) for repeat in repeats]
        pooled = [value / 1e6 for repeat in repeats for value in repeat.record.series[STEP].values]
        steps = describe(pooled, medians)
        figure = Figure.of(
            "step_ms",
            FigureKind("ms", "lower", "the median time of one step"),
            steps.median,
            interval=median_interval_of_repeats(medians),
            n=len(pooled),
            repeats=tuple(medians),
        )
        outcome = Outcome(headline=figure.name, figures=(figure,), distributions={STEP: steps}, detail={"stopped_because": stopped_because})
        return Derived(f"median step {steps.median:.3f} ms over {len(repeats)} repeats", outcome=outcome)


def _wait_until(end_ns: int) -> None:
    while perf_counter_ns() < end_ns:
        pass
