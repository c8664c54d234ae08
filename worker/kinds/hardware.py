"""Measures the device itself. One call is one call of a test's kernel; nothing has to be made ready.

The tests run in a process of their own below the measured one (see `worker.hardware_tests.run`): a forked process has inherited numpy,
and with it a BLAS whose threads and kernels were chosen for other work. Each series of a record holds the durations of the calls of one
figure in nanoseconds. The figures themselves are in the facts.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from statistics import median
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from shared.series import Phase, Record, Series
from worker.hardware_tests.base import Reading
from worker.hardware_tests.last import LastFigures
from worker.hardware_tests.run import Run, run_in_fresh_process
from worker.kinds.base import Derived, Repeat
from worker.measured.request import Announce, RunRequest

if TYPE_CHECKING:
    from shared.figures import Figure
    from shared.workloads import Workload

TESTS = "tests"
# This is the figure that stands for a job: the first of these that it has.
HEADLINES = ("peak_gb_per_s", "fp32_tflops", "memory_latency_ns", "kernel_launch_us")


class HardwareMeasure:
    """Measures what the tests of `worker.hardware_tests` measure."""

    stops_on = "the headline figure"
    loading = ""

    def run(self, request: RunRequest, announce: Announce) -> Record:
        announce("measuring")
        begin = perf_counter_ns()
        environment = os.environ  # noqa: TID251 - not our settings: what the libraries of the tests read
        seconds = request.spec["seconds"] / request.repeats
        run = run_in_fresh_process(request.capability, tuple(request.spec["tests"]), seconds, environment)
        phases = {TESTS: Phase(TESTS, perf_counter_ns() - begin)}
        series = {
            reading.series(): Series(reading.series(), values=array("q", reading.durations_ns()))
            for reading in _readings(run)
            if reading.calls
        }
        facts = {"hardware": _without_calls(run), "runtime": _runtime(request.capability, run), "software": _software(run)}
        return Record(phases, series, facts)

    def further_loads(self, workload: Workload) -> int:
        del workload
        return 0

    def stop_value(self, record: Record) -> float:
        """Return the headline figure of one repeat."""
        values = {reading.name: reading.value for reading in _readings(Run.from_json(record.facts["hardware"]))}
        return values.get(_headline(values)) or 0.0

    def derive(self, workload: Workload, repeats: Sequence[Repeat], loads: Sequence[Record], stopped_because: str) -> Derived:
        from shared.figures import Outcome  # needs pydantic, which the guard must not hold in memory

        runs = [Run.from_json(repeat.record.facts["hardware"]) for repeat in repeats]
        calls = [{name: len(one.values) for name, one in repeat.record.series.items()} for repeat in repeats]
        readings = [{reading.name: reading for reading in _readings(run)} for run in runs]
        names = dict.fromkeys(name for one in readings for name in one)  # a process may have failed to measure one that others have
        figures = tuple(_figure(name, [one[name] for one in readings if name in one], calls) for name in names)
        values = {figure.name: figure.value for figure in figures}
        headline = _headline(values)
        facts = {name: test.facts for name, test in runs[0].tests.items()}
        detail: dict[str, Any] = {"tests": facts, "environment_unset": runs[0].unset, "stopped_because": stopped_because}
        kept = {figure.name: {"unit": figure.unit, "value": figure.value, "missing": figure.missing} for figure in figures}
        capability = repeats[0].record.facts["runtime"]["capability"]
        at = datetime.fromtimestamp(repeats[-1].started_at, UTC).isoformat(timespec="seconds")
        device = next((str(one.get("uuid") or one["device"]) for one in facts.values() if "device" in one), "")
        shown = ", ".join(f"{name} {values[name]:.4g}" for name in HEADLINES if values.get(name) is not None)
        return Derived(
            f"{shown or 'no figure'}; median of {len(runs)} repeats",
            outcome=Outcome(headline=headline, figures=figures, detail=detail),
            of_device=LastFigures(capability, device, at, kept, facts),
            warnings=tuple(filter(None, (_said_of_gaps(name, readings) for name in names))),
        )


def _readings(run: Run) -> list[Reading]:
    return [reading for test in run.tests.values() for reading in test.readings]


def _said_of_gaps(name: str, repeats: Sequence[Mapping[str, Reading]]) -> str:
    """Return in which repeats a figure has no value although others have one, and why; else an empty text."""
    without = [place for place, one in enumerate(repeats, start=1) if name not in one or one[name].value is None]
    if not without or len(without) == len(repeats):
        return ""
    first = repeats[without[0] - 1].get(name)
    why = first.missing if first is not None else "it was not reported"
    which = ", ".join(map(str, without))
    return f"{name} has no value in repeat {which} of {len(repeats)}, and is computed from the others: {why}"


def _headline(values: Mapping[str, float | None]) -> str:
    return next((name for name in HEADLINES if values.get(name) is not None), next(iter(values), HEADLINES[0]))


def _figure(name: str, readings: Sequence[Reading], calls: Sequence[Mapping[str, int]]) -> Figure:
    from shared.figures import Figure, FigureKind
    from shared.kinds.hardware import Hardware
    from shared.stats import median_interval_of_repeats

    first = readings[0]
    kind = Hardware.figures.get(name) or FigureKind(first.unit, first.better, "")
    values = [reading.value for reading in readings if reading.value is not None]
    if not values:
        return Figure.of(name, kind, missing=first.missing)
    counted = sum(one.get(first.series(), 0) for one in calls) or len(values)
    return Figure.of(name, kind, median(values), interval=median_interval_of_repeats(values), n=counted, repeats=tuple(values))


def _without_calls(run: Run) -> dict[str, Any]:
    """Return a run as JSON. The single calls are left out, because the series hold them."""
    content = run.as_json()
    for test in content["tests"].values():
        for reading in test["readings"]:
            reading["calls"] = []
    return content


def _runtime(capability: str, run: Run) -> dict[str, Any]:
    """Return what the CSV and the noise look at: who computed, with how many threads, and on which device."""
    flops = run.tests["flops"].facts if "flops" in run.tests else {}
    devices = [test.facts["device"] for test in run.tests.values() if "device" in test.facts]
    threads = flops.get("blas", {}).get("threads")
    return {
        "runtime": "hardware tests",
        "capability": capability,
        **({"provider": devices[0]} if devices else {}),
        **({"threads": {"intra_op": threads}} if isinstance(threads, int) else {}),
    }


def _software(run: Run) -> dict[str, str]:
    """Return the versions of the libraries that computed."""
    found: dict[str, str] = {}
    for test in run.tests.values():
        used = [str(one.get("library", "")) for one in test.facts.get("by_precision", {}).values()]
        found |= dict(library.split(" ", 1) for library in used if " " in library)
        if "torch" in test.facts:
            found["torch"] = str(test.facts["torch"])
    return found
