"""Measures a language model token by token.

Without a task, one call writes an exact number of tokens for each prompt of a batch. The series of a record are `load` (one value),
`warmup`, `warmup_prefill`, and those of the three passes (see `worker.generators.passes`): `streamed`, `tokens`, `plain` and `prefill`.

With a task, each call has one document, and ends where the model ends it. The series are `load`, `warmup`, and those of the two passes
(see `worker.generators.task_passes`). Times are in nanoseconds; all series are in order of time.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import asdict, replace
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from shared.series import TIMED_SPANS, Phase, Record, Series
from worker.generators.alternation import BLOCK
from worker.generators.base import COMPILE, Clock, Generator, Settings
from worker.generators.calls import FIRST_TOKEN, PEAK_GPU, STAGES, PromptCalls, TaskCalls, calls_of
from worker.generators.passes import Stamps
from worker.generators.registry import check_settings, resolve
from worker.generators.snapshot import SAID_RANDOM
from worker.generators.task_passes import TaskStamps
from worker.kinds.base import Derived, Repeat
from worker.measured.memory import MemoryMeter
from worker.measured.request import Announce, RunRequest

if TYPE_CHECKING:
    from shared.workloads import Workload
    from worker.hardware_tests.last import LastFigures

LOAD, PASSES = "load", "passes"
COMPILATIONS, READS, CAPABILITY = "compilations", "reads", "capability"


class GenerationMeasure:
    """Measures a language model, as described at the top of this module."""

    stops_on = "the tokens per second"
    loading = LOAD

    def __init__(self, clock: Clock = perf_counter_ns) -> None:
        self._clock = clock
        self._generator: Generator | None = None  # kept here so that it is freed after the record is written

    def run(self, request: RunRequest, announce: Announce) -> Record:
        check_settings(request.capability, request.spec)
        self._generator = generator = resolve(request.capability)()
        settings = Settings.from_spec(request.spec)
        memory = MemoryMeter(family=True)
        announce("loading")
        memory.start_phase()
        baseline = memory.resident_mb()
        before = self._clock()
        stages = generator.load(request.input("model"), settings, request.capability, self._clock)
        load_ns = self._clock() - before
        phases = {LOAD: Phase(LOAD, load_ns, peak_mb=memory.peak_mb())}
        series = {LOAD: Series(LOAD, values=array("q", [load_ns]))}
        facts: dict[str, Any] = {"baseline_mb": baseline, "memory_method": memory.method, STAGES: dict(stages)}
        if request.load_only:
            return Record(phases, series, facts)
        announce("preparing inputs")
        calls = TaskCalls(request, generator, self._clock) if request.spec.get("task") else PromptCalls(request, generator, self._clock)
        passes = calls.passes
        announce("warming up")
        memory.start_phase()
        generator.start_phase()
        try:
            passes.warm_up(request.warmup_min_calls, request.warmup_min_s, request.warmup_max_s)
            facts[STAGES][COMPILE] = facts[STAGES].get(COMPILE) or generator.compiled().ns or None
            announce("measuring")
            passes.measure()
        except Exception as error:
            reason = generator.explain(error)
            if reason is None:
                raise
            raise reason from error
        stamps = passes.stamps
        phases[PASSES] = Phase(PASSES, stamps.wall_ns, stamps.cpu_ns, memory.peak_mb())
        series |= {name: Series(name, unit, getattr(stamps, name)) for name, unit in calls.series.items()}
        reported = generator.facts()
        random = {"random_weights": True} if SAID_RANDOM in reported.runtime.get("warnings", ()) else {}
        facts |= calls.facts() | {
            FIRST_TOKEN: stamps.first_token,
            PEAK_GPU: generator.peak_gpu_mb(),
            COMPILATIONS: stamps.compilations,
            READS: asdict(generator.reads()),
            CAPABILITY: request.capability,
            TIMED_SPANS: _spans(stamps, len(stamps.plain)),
            "runtime": reported.runtime | random | calls.runtime() | {"file_cache": "as found"},
            "software": reported.software,
        }
        return Record(phases, series, facts)

    def further_loads(self, workload: Workload) -> int:
        from shared.kinds.generation import GenerationSpec  # needs pydantic, which the guard must not hold in memory
        from shared.workloads import spec_as

        return spec_as(workload, GenerationSpec).loads

    def stop_value(self, record: Record) -> float:
        """Return the tokens per second of one repeat."""
        total = sum(record.series["plain"].values)
        return calls_of(record).tokens(record) / total * 1e9 if total else 0.0

    def derive(self, workload: Workload, repeats: Sequence[Repeat], loads: Sequence[Record], stopped_because: str) -> Derived:
        from worker.generators.outcome import outcome_of  # needs pydantic and numpy, which the guard must not hold in memory
        from worker.generators.roofline import compared, peak_of

        records = [repeat.record for repeat in repeats]
        outcome, calls = outcome_of(records, loads, stopped_because), calls_of(records[0])
        shown = {figure.name: figure.value for figure in outcome.figures}
        why = outcome.detail.get("not_steady_because", "")
        said = (
            f"{shown['tokens_per_s'] or 0:.4g} tokens/s, first token after {shown['ttft_ms'] or 0:.3f} ms, over {len(repeats)} repeats; "
            f"looking at each token costs {shown['streaming_cost_percent'] or 0:+.1f} %"
        )
        derived = Derived(
            said,
            outcome=outcome,
            tokens_per_unit=calls.tokens(records[0]) / len(records[0].series["plain"].values),
            files=calls.files(records[0]),
            warnings=(f"not steady: {why}",) if why else (),
        )
        if not calls.of_one_length:
            return derived

        def against_device(known: Sequence[LastFigures]) -> Derived:
            checked, void = compared(outcome, records, peak_of(known, records[0].facts[CAPABILITY]))
            return replace(derived, outcome=checked, warnings=(*derived.warnings, void) if void else derived.warnings)

        return replace(derived, against_device=against_device)


def _spans(stamps: Stamps | TaskStamps, requests: int) -> list[tuple[float, float, int]]:
    """Return when each block of plain calls began, in seconds since the phase began, how long it took, and how many calls it had."""
    begins, taken = stamps.blocks[::2], stamps.blocks[1::2]
    return [
        (begin / 1e9, long / 1e9, min(BLOCK, requests - index * BLOCK))
        for index, (begin, long) in enumerate(zip(begins, taken, strict=True))
    ]
