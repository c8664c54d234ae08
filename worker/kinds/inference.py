"""Measures a model in a runtime. One call is one inference, and making it ready is loading the model.

The series of a record are `load` (one value), `warmup` and `inference`, all in nanoseconds and in order of time.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from statistics import median
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, ClassVar

from shared.series import Phase, Record, Series
from worker.engines.base import Engine, Options
from worker.engines.registry import check_options, entry_of, resolve
from worker.kinds.base import Derived, Repeat
from worker.measured.hot_loop import time_calls_undisturbed, warm_up
from worker.measured.memory import MemoryMeter
from worker.measured.request import Announce, RunRequest

if TYPE_CHECKING:
    from shared.measurements import RawRepeat
    from shared.workloads import Workload

LOAD, INFERENCE, WARMUP = "load", "inference", "warmup"


class InferenceMeasure:
    """Measures inferences, as described at the top of this module."""

    stops_on = "the median"
    loading = LOAD
    _engine: ClassVar[object] = None  # kept by the class, so that it lives until the process ends (see `EngineEntry.unloads`)

    def run(self, request: RunRequest, announce: Announce) -> Record:
        InferenceMeasure._engine = engine = resolve(request.capability)()
        try:
            return self._run(engine, request, announce)
        finally:
            if entry_of(request.capability).unloads:
                engine.unload()

    def _run(self, engine: Engine, request: RunRequest, announce: Announce) -> Record:
        from worker.engines.inputs import make_inputs  # needs numpy, which a worker without a job must not hold in memory

        options = Options.from_json(request.spec["options"])
        check_options(request.capability, options)
        model = request.input("model")
        memory = MemoryMeter()
        announce("loading")
        memory.start_phase()
        baseline = memory.resident_mb()
        before = perf_counter_ns()
        engine.load(model, options, request.capability)
        load_ns = perf_counter_ns() - before
        phases = {LOAD: Phase(LOAD, load_ns, peak_mb=memory.peak_mb())}
        series = {LOAD: Series(LOAD, values=array("q", [load_ns]))}
        if request.load_only:
            return Record(phases, series, {"baseline_mb": baseline, "memory_method": memory.method})
        announce("preparing inputs")
        inputs = make_inputs(engine, options, model.parent)
        call = engine.bind(inputs.arrays)
        samples = array("q", bytes(8 * request.spec["inferences"]))
        announce("warming up")
        memory.start_phase()
        try:
            warmups = warm_up(call, request.warmup_min_calls, request.warmup_min_s, request.warmup_max_s)
            announce("measuring")
            wall_ns, cpu_ns = time_calls_undisturbed(call, samples)
        except Exception as error:
            reason = engine.explain(error)
            if reason is None:
                raise
            raise reason from error
        phases[INFERENCE] = Phase(INFERENCE, wall_ns, cpu_ns, memory.peak_mb())
        series |= {WARMUP: Series(WARMUP, values=warmups), INFERENCE: Series(INFERENCE, values=samples)}
        reported = engine.facts()
        facts: dict[str, Any] = {
            "baseline_mb": baseline,
            "memory_method": memory.method,
            "runtime": inputs.report(reported.runtime) | {"file_cache": "as found"},
            "software": reported.software,
        }
        return Record(phases, series, facts)

    def further_loads(self, workload: Workload) -> int:
        from shared.workloads import inference_of  # needs pydantic, which the guard must not hold in memory

        return inference_of(workload).loads

    def stop_value(self, record: Record) -> float:
        """Return the median of one repeat's inferences, in milliseconds."""
        return median(record.series[INFERENCE].values) / 1e6

    def derive(self, workload: Workload, repeats: Sequence[Repeat], loads: Sequence[Record], stopped_because: str) -> Derived:
        from shared.stats import summarise  # needs numpy: 15 MB of memory that an idle worker does not need

        raw = [_raw_repeat(index, repeat) for index, repeat in enumerate(repeats)]
        precision = workload.stop.precision if workload.stop else None
        summary = summarise(raw, [load.phases[LOAD].wall_ns for load in loads], stopped_because, precision)
        said = f"median {summary.inference.median:.3f} ms over {len(raw)} repeats, {summary.steadiness}"
        return Derived(said, summary=summary)


def _raw_repeat(index: int, repeat: Repeat) -> RawRepeat:
    from shared.measurements import RawRepeat  # needs pydantic, which the guard must not hold in memory

    record = repeat.record
    load, timed, facts = record.phases[LOAD], record.phases[INFERENCE], record.facts
    return RawRepeat(
        index=index,
        load_ns=load.wall_ns,
        warmup_ns=record.series[WARMUP].values,
        inference_ns=record.series[INFERENCE].values,
        inference_wall_ns=timed.wall_ns,
        load_peak_mb=load.peak_mb,
        inference_peak_mb=timed.peak_mb,
        baseline_mb=facts["baseline_mb"],
        memory_method=facts["memory_method"],
        cpu_percent=100 * timed.cpu_ns / timed.wall_ns if timed.wall_ns and timed.cpu_ns is not None else None,
        runtime=facts["runtime"],
        started_at=repeat.started_at,
    )
