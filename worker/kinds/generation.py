"""Measures a language model token by token. One call writes an exact number of tokens for each prompt of a batch.

The series of a record are `load` (one value), `warmup`, `warmup_prefill`, and those of the three passes (see `worker.generators.passes`):
`streamed`, `tokens`, `plain` and `prefill`. All are in nanoseconds and in order of time.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import asdict, replace
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from shared.errors import ModelInvalid
from shared.series import TIMED_SPANS, Phase, Record, Series
from worker.generators.base import COMPILE, Clock, Generator, Settings
from worker.generators.passes import BLOCK, Passes, Shape, Stamps, draw_prompts
from worker.generators.registry import check_settings, resolve
from worker.kinds.base import Derived, Repeat
from worker.measured.memory import MemoryMeter
from worker.measured.request import Announce, RunRequest

if TYPE_CHECKING:
    from shared.workloads import Workload
    from worker.hardware_tests.last import LastFigures

LOAD, PASSES = "load", "passes"
SERIES = ("warmup", "warmup_prefill", "streamed", "tokens", "plain", "prefill")
STAGES, FIRST_TOKEN, SHAPE, PEAK_GPU = "stages_ns", "first_token_ns", "shape", "peak_gpu_mb"  # keys of a record's facts
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
        settings, shape = Settings.from_spec(request.spec), _shape(request)
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
        _refuse_too_long(shape, generator.longest())
        prompts = draw_prompts(shape, generator.vocabulary(), settings.seed)
        generator.prepare(prompts)
        passes = Passes(generator, shape, len(prompts), self._clock)
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
        series |= {name: Series(name, values=getattr(stamps, name)) for name in SERIES}
        reported = generator.facts()
        facts |= {
            SHAPE: shape.as_json(),
            FIRST_TOKEN: stamps.first_token,
            PEAK_GPU: generator.peak_gpu_mb(),
            COMPILATIONS: stamps.compilations,
            READS: asdict(generator.reads()),
            CAPABILITY: request.capability,
            TIMED_SPANS: _spans(stamps, shape.requests),
            "runtime": reported.runtime | {"batch_size": shape.batch_size, "distinct_prompts": len(prompts), "file_cache": "as found"},
            "software": reported.software,
        }
        return Record(phases, series, facts)

    def further_loads(self, workload: Workload) -> int:
        from shared.kinds.generation import GenerationSpec  # needs pydantic, which the guard must not hold in memory
        from shared.workloads import spec_as

        return spec_as(workload, GenerationSpec).loads

    def stop_value(self, record: Record) -> float:
        """Return the tokens per second of one repeat."""
        plain, shape = record.series["plain"].values, record.facts[SHAPE]
        tokens: int = len(plain) * shape["batch_size"] * shape["output_tokens"]
        return tokens / sum(plain) * 1e9 if sum(plain) else 0.0

    def derive(self, workload: Workload, repeats: Sequence[Repeat], loads: Sequence[Record], stopped_because: str) -> Derived:
        from worker.generators.outcome import outcome_of  # needs pydantic and numpy, which the guard must not hold in memory
        from worker.generators.roofline import compared, peak_of

        records = [repeat.record for repeat in repeats]
        outcome, shape = outcome_of(records, loads, stopped_because), records[0].facts[SHAPE]
        shown = {figure.name: figure.value for figure in outcome.figures}
        why = outcome.detail.get("not_steady_because", "")
        said = (
            f"{shown['tokens_per_s'] or 0:.4g} tokens/s, first token after {shown['ttft_ms'] or 0:.3f} ms, over {len(repeats)} repeats; "
            f"looking at each token costs {shown['streaming_cost_percent'] or 0:+.1f} %"
        )
        derived = Derived(
            said,
            outcome=outcome,
            tokens_per_unit=shape["batch_size"] * shape["output_tokens"],
            warnings=(f"not steady: {why}",) if why else (),
        )

        def against_device(known: Sequence[LastFigures]) -> Derived:
            checked, void = compared(outcome, records, peak_of(known, records[0].facts[CAPABILITY]))
            return replace(derived, outcome=checked, warnings=(*derived.warnings, void) if void else derived.warnings)

        return replace(derived, against_device=against_device)


def _shape(request: RunRequest) -> Shape:
    prompts = request.spec["prompts"]
    batch = request.spec["options"].get("batch_size") or 1
    return Shape(batch, prompts["input_tokens"], prompts["output_tokens"], prompts["requests"])


def _spans(stamps: Stamps, requests: int) -> list[tuple[float, float, int]]:
    """Return when each block of plain calls began, in seconds since the phase began, how long it took, and how many calls it had."""
    begins, taken = stamps.blocks[::2], stamps.blocks[1::2]
    return [
        (begin / 1e9, long / 1e9, min(BLOCK, requests - index * BLOCK))
        for index, (begin, long) in enumerate(zip(begins, taken, strict=True))
    ]


def _refuse_too_long(shape: Shape, longest: int | None) -> None:
    wanted = shape.input_tokens + shape.output_tokens
    if longest is not None and wanted > longest:
        raise ModelInvalid(
            f"prompts.input_tokens {shape.input_tokens} and prompts.output_tokens {shape.output_tokens} are {wanted} tokens together, "
            f"and this model takes {longest}: ask for fewer"
        )
