"""Measures steps whose durations are all known in advance. It needs no input and no engine.

`shared.kinds.fake` describes the schedule. A step waits by reading the clock. The facts say how long each step really took, by the kind's
own clock.
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

    stops_on = "the rate"
    loading = PREPARE

    def run(self, request: RunRequest, announce: Announce) -> Record:
        spec = request.spec
        memory = MemoryMeter()
        announce("loading")
        memory.start_phase()
        if spec["refuses"]:
            raise ModelInvalid(spec["refuses"])
        before = perf_counter_ns()
        _wait_until(before + int(spec["prepare_s"] * 1e9))
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
        """Return the steps per second of one repeat."""
        return len(record.series[STEP].values) / record.phases[STEP].wall_ns * 1e9

    def derive(self, workload: Workload, repeats: Sequence[Repeat], loads: Sequence[Record], stopped_because: str) -> Derived:
        # These need pydantic and numpy, which the guard must not hold in memory.
        from shared.figures import Figure, Outcome
        from shared.kinds.fake import Fake
        from shared.stats import describe, median_interval_of_repeats

        rates = [self.stop_value(repeat.record) for repeat in repeats]
        medians = [median(repeat.record.series[STEP].values) / 1e6 for repeat in repeats]
        steps = describe([value / 1e6 for repeat in repeats for value in repeat.record.series[STEP].values], medians)
        figures = tuple(
            Figure.of(name, Fake.figures[name], value, interval=median_interval_of_repeats(each), n=steps.n, repeats=tuple(each))
            for name, value, each in (("fake_per_s", median(rates), rates), ("fake_ms", steps.median, medians))
        )
        detail = {"stopped_because": stopped_because, "prepared_ns": [repeat.record.phases[PREPARE].wall_ns for repeat in repeats]}
        outcome = Outcome(headline=Fake.headline, figures=figures, distributions={STEP: steps}, detail=detail)
        return Derived(f"{median(rates):.3f} steps/s over {len(repeats)} repeats", outcome=outcome)


def _wait_until(end_ns: int) -> None:
    while perf_counter_ns() < end_ns:
        pass
