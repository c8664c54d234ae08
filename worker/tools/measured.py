"""Runs a tool in the measured process of a load, and makes of what it told what our own clients would have recorded.

Our own driver makes the population before, and removes it after, so that the tool finds the same rows or keys as our clients do.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any
from zlib import crc32

from shared.errors import JobCancelled
from shared.request_records import RECORD
from shared.series import Phase, Record, Series
from shared.services.native_tools import OURS, TOOLS
from worker.load.clients import ENDED, Clients
from worker.load.plan import ClientPlan, PhasePlan
from worker.measured.request import Announce, RunRequest, with_news
from worker.tools.base import EndsEarly, Tool, ToolPhase, ToolRun
from worker.tools.registry import resolve

if TYPE_CHECKING:
    from worker.load.phases import Measured

MOST_SEED = 2**31 - 1
OnNews = Callable[[float, str], None]


def tool_of(spec: Mapping[str, Any]) -> str:
    """Return the tool that a job asks for. Empty if our own clients send."""
    driver = str(spec["client"].get("driver", OURS))
    return "" if driver == OURS else driver


def record_of(request: RunRequest, plans: Sequence[ClientPlan], loading: str, announce: Announce) -> Record:
    """Measure with a tool, and return the record of the repeat.

    Raises:
        JobError: The tool is not on this device, cannot do what is asked for, or reached nothing.
    """
    spec, plan, begin = request.spec, plans[0], perf_counter_ns()
    name = tool_of(spec)
    tool = resolve(name)(plan.address, plan.settings, plan.secrets)
    version = tool.version()
    runs: list[ToolRun] = []
    cut_short = left_behind = ""
    ends_early = request.end_path.exists
    with Clients([plan], ended=ends_early) as clients:
        announce("preparing inputs")
        try:
            prepared = clients.prepare()
            ready_ns = perf_counter_ns() - begin
            clients.wait(spec["client_delay_s"])
            if not request.load_only:
                announce("warming up")
                announce("measuring")
                cut_short = run_phases(tool, plans, runs, lambda share, news: announce(with_news("measuring", share, news)), ends_early)
        finally:
            left_behind = clients.clean_or_say()
    facts: dict[str, Any] = {
        "load": {
            "runs": [_run(run, phase.name) for run, phase in zip(runs, plan.phases, strict=False) if run.records is not None],
            "prints": [_print(run, phase.name) for run, phase in zip(runs, plan.phases, strict=False) if run.records is None],
            "operations": list(tool.operations),
            "ceiling_per_s": None,
            "prepared": prepared,
            "cut_short": cut_short,
            "left_behind": left_behind,
            "tool": {
                "name": name,
                "version": version,
                "commands": [run.command for run in runs],
                "printed": [dict(run.printed) for run in runs],
                "definitions": list(TOOLS[name].definitions) if name in TOOLS else [],
            },
        },
        "runtime": {"runtime": version, "capability": request.capability, "loop": ""},
        "software": {name: version, **prepared.get("server", {})},
    }
    if runs:
        from worker.load.phases import rate  # needs numpy, which the guard must not hold in memory

        facts["requests_per_s"] = rate(measured_of(facts["load"], spec))
    return Record({loading: Phase(loading, ready_ns)}, {loading: Series(loading, values=array("q", [ready_ns]))}, facts)


def run_phases(tool: Tool, plans: Sequence[ClientPlan], runs: list[ToolRun], on_news: OnNews, ends_early: EndsEarly) -> str:
    """Run each phase. Return why the last ones were left out or are shorter; empty if all ran to their end.

    A phase that was ended before its measured window began says nothing of the service, so it is left out, too.

    Args:
        on_news: Called with how much of all phases is done, from 0 to 1, and how the present one goes. A phase with a number of requests
            does not tell how many of them have ended.

    Raises:
        JobError: Nothing was measured.
    """
    phases = plans[0].phases
    for number, phase in enumerate(phases):
        begin = perf_counter_ns()

        def tell(news: str, number: int = number, begin: int = begin, phase: PhasePlan = phase) -> None:
            within = (perf_counter_ns() - begin) / 1e9 / (phase.lead_s + phase.duration_s) if phase.duration_s else 0.0
            on_news((number + min(1.0, within)) / len(phases), news)

        try:
            run = tool.run(_phase(plans, phase, number), tell, ends_early)
        except JobCancelled:
            if not runs:
                raise
            return f"the phase {phase.name} was ended before anything was measured"
        if run.ended_early and run.records is not None and _last_end_s(run.records) <= 0:
            if not runs:
                raise JobCancelled(ENDED)
            return f"the phase {phase.name} was ended before its measured window began"
        runs.append(run)
        if run.ended_early:
            return f"the phase {phase.name} was ended early"
    return ""


def _phase(plans: Sequence[ClientPlan], phase: PhasePlan, number: int) -> ToolPhase:
    plan = plans[0]
    return ToolPhase(
        name=phase.name,
        operations=phase.operations,
        rate=phase.shape.rate or None,
        in_flight=plan.concurrent * len(plans),
        processes=len(plans),
        count=phase.count,
        duration_s=phase.duration_s,
        lead_s=phase.lead_s,
        seed=crc32(f"{plan.seed}/{number}".encode()) % MOST_SEED,
        folder=Path(plan.folder),
        burstiness={"constant": math.inf, "gamma": phase.shape.burstiness}.get(phase.shape.pattern, 1.0),
    )


def _run(run: ToolRun, phase: str) -> dict[str, Any]:
    """Return the facts of a phase of which each request is known, in the form of those of our own clients."""
    assert run.records is not None
    process = {"opened": 0, "lost": 0, "said": run.stopped, "gave_up": run.stopped, "cpu_ns": 0}
    return {
        "phase": phase,
        "began_at": run.began_at,
        "files": {"0": str(run.records)},
        "counts": {"0": run.records.stat().st_size // RECORD.size},
        "processes": {"0": process},
        "died": {},
        "ended_early_s": _last_end_s(run.records) if run.ended_early else None,
    }


def _last_end_s(records: Path) -> float:
    """Return when the last request ended, in seconds after the window began."""
    return max((due + delay + last for due, delay, _, last, *_ in RECORD.iter_unpack(records.read_bytes())), default=0.0) / 1e9


def _print(run: ToolRun, phase: str) -> dict[str, Any]:
    steps = {operation: [list(step) for step in steps] for operation, steps in run.steps.items()}
    return {"phase": phase, "window_s": run.window_s, "steps": steps, "printed": dict(run.printed), "stopped": run.stopped}


def measured_of(known: Mapping[str, Any], spec: Mapping[str, Any]) -> list[Measured]:
    """Return what is known of the requests of one repeat, as `worker.load.phases` needs it.

    Where a tool prints a distribution only, each request has the latency of its step, and all of them were sent at the begin.
    """
    import numpy as np  # imported here, because the guard must not hold it in memory

    from shared.request_records import record_type
    from worker.load.phases import Measured
    from worker.load.records import RecordFile

    durations = {phase["name"]: phase["duration_s"] for phase in spec["phases"]}
    found = []
    for run in known["runs"]:
        files = (RecordFile(Path(run["files"]["0"]), run["counts"]["0"]),)
        window_s = durations[run["phase"]] if run["ended_early_s"] is None else run["ended_early_s"]
        found.append(Measured(run["phase"], files, window_s, bool(spec["load"]["rate"])))
    for told in known["prints"]:
        parts = []
        for operation, steps in told["steps"].items():
            counts = np.diff([count for _, count in steps], prepend=0)
            records = np.zeros(int(counts.sum()), record_type())
            records["last"] = np.repeat([latency * 1e6 for latency, _ in steps], counts)
            records["operation"] = known["operations"].index(operation)
            parts.append(records)
        records = np.concatenate(parts)
        records["first"] = np.nan
        found.append(Measured(told["phase"], records, told["window_s"], open_loop=False))
    return found
