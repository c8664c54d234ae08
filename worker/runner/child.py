"""Contains the code of the measured process: it loads the model, warms up, measures, writes the raw samples to a file, and ends."""

from __future__ import annotations

import faulthandler
import gc
import os
import platform
import sys
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from shared.errors import JobError
from worker.engines.base import Engine, Options
from worker.engines.inputs import Inputs, make_inputs
from worker.engines.registry import check_options, resolve
from worker.runner.hot_loop import time_calls, warm_up
from worker.runner.memory import MemoryMeter
from worker.runner.request import NO_ROOM, RunRequest, Unwritten, write_record

Announce = Callable[[str], None]


def run_here(request: RunRequest) -> None:
    """Run one request in this process.

    Its stdout is the pipe for phase names. What the engine prints goes to stderr, which the guard captures.
    """
    phases = os.dup(1)
    os.dup2(2, 1)
    faulthandler.enable()  # a crash in native code names the Python line that led to it
    _refuse_core_dump()
    gc.enable()

    def announce(phase: str) -> None:
        os.write(phases, phase.encode() + b"\n")

    try:
        measure(request, announce)
    except Unwritten as error:
        os.write(2, f"the record could not be written: {error}\n".encode(errors="replace"))
        os._exit(NO_ROOM)


def _refuse_core_dump() -> None:
    """Turn core dumps off: a process that crashes with a model of 10 GB would leave a file of 10 GB."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def measure(request: RunRequest, announce: Announce) -> None:
    """Run one request and write its record. An error of the model becomes part of the record.

    Any other error is a defect in our code or in the engine. It is not caught, so the process ends with a traceback and an exit code.

    Args:
        announce: Called with the name of each phase before it begins, never during one.
    """
    try:
        _measure(request, announce)
    except JobError as error:
        write_record(Path(request.record_path), {"error_kind": error.kind, "error": error.detail})


def _measure(request: RunRequest, announce: Announce) -> None:
    engine = resolve(request.capability)()
    options = Options.from_json(request.options)
    check_options(request.capability, options)
    model = Path(request.model_path)
    memory = MemoryMeter()
    announce("loading")
    memory.start_phase()
    baseline = memory.resident_mb()
    before = perf_counter_ns()
    engine.load(model, options, request.capability)
    load_ns = perf_counter_ns() - before
    facts: dict[str, Any] = {"load_ns": load_ns, "baseline_mb": baseline, "load_peak_mb": memory.peak_mb(), "memory_method": memory.method}
    if request.load_only:
        write_record(Path(request.record_path), facts | {"process_cpu_s": time.process_time()})
        return
    announce("preparing inputs")
    inputs = make_inputs(engine, options, model.parent)
    call = engine.bind(inputs.arrays)
    samples = array("q", bytes(8 * request.inferences))
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
    facts |= {
        "inference_wall_ns": wall_ns,
        "inference_peak_mb": memory.peak_mb(),
        "memory_method": memory.method,
        "cpu_percent": 100 * cpu_ns / wall_ns if wall_ns else None,
        "process_cpu_s": time.process_time(),
        **_reported(engine, inputs),
    }
    write_record(Path(request.record_path), facts, warmups, samples)


def time_calls_undisturbed(call: Callable[[], object], samples: array[int]) -> tuple[int, int]:
    """Run the timed calls with the garbage collector off.

    Returns:
        Nanoseconds of wall-clock time, and nanoseconds of CPU time of all threads.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    cpu = time.process_time_ns()
    wall_ns = time_calls(call, samples)
    cpu_ns = time.process_time_ns() - cpu
    gc.enable()
    gc.unfreeze()
    return wall_ns, cpu_ns


def _reported(engine: Engine, inputs: Inputs) -> dict[str, Any]:
    facts = engine.facts()
    runtime = inputs.report(facts.runtime)
    process: dict[str, Any] = {"file_cache": "as found"}
    if hasattr(os, "sched_getaffinity"):
        process["cpu_affinity"] = sorted(os.sched_getaffinity(0))
    tasks = Path("/proc/self/task")
    if tasks.exists():
        process["process_threads"] = len(list(tasks.iterdir()))
    software = {"python": platform.python_version(), "implementation": sys.implementation.name, **facts.software}
    return {"runtime": runtime | process, "software": software}
