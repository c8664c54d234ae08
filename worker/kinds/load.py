"""Measures a service under load. One call is one request, and each repeat has fresh client processes.

The measured process itself sends nothing: it starts the client processes, tells them when to begin, and waits. The records of the requests
are files beside the record of the repeat, because 10^7 of them are too many for it; the facts say where they are.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from shared.errors import JobCancelled, JobError
from shared.masking import without_logins
from shared.series import Phase, Record, Series
from worker.drivers.registry import DRIVERS, DriverEntry, driver_of, fills_of
from worker.kinds.base import Derived, Repeat
from worker.load.arrivals import CLOSED_PATTERNS, expected
from worker.load.ceiling import check_rate, measure_ceiling
from worker.load.clients import Clients, PhaseRun
from worker.load.plan import ClientPlan, PhasePlan
from worker.load.planning import in_flight, plans_of
from worker.load.request_file import write_requests
from worker.measured.request import Announce, RunRequest, with_news
from worker.tools.measured import measured_of, record_of, tool_of

if TYPE_CHECKING:
    from shared.workloads import Workload
    from worker.load.phases import Measured

PREPARE = "prepare"
CEILING_FILE = "ceiling.json"  # beside the records: the first repeat of a job writes it


class LoadMeasure:
    """Drives one service, as described at the top of this module."""

    stops_on = "the requests per second"
    loading = PREPARE

    def run(self, request: RunRequest, announce: Announce) -> Record:
        spec = request.spec
        driver = driver_of(request.capability)
        announce("loading")
        begin = perf_counter_ns()
        folder = Path(tempfile.mkdtemp(prefix="requests-", dir=Path(request.record_path).parent))
        plans = plans_of(request, driver, str(folder))
        if tool_of(spec):
            return record_of(request, plans, PREPARE, announce)
        ceiling = self._ceiling(request, plans, driver, announce)
        check_rate(spec["load"]["rate"] or 0.0, ceiling)
        runs: list[PhaseRun] = []
        cut_short = left_behind = ""
        findings: dict[str, Any] = {}
        counted: list[dict[str, float]] = []
        with Clients(plans, ended=request.end_path.exists) as clients:
            announce("preparing inputs")
            try:
                prepared = clients.prepare()
                ready_ns = perf_counter_ns() - begin
                clients.wait(spec["client_delay_s"])
                if not request.load_only:
                    announce("warming up")
                    self._count(clients, driver, counted)
                    cut_short = self._run_phases(clients, plans[0].phases, runs, announce)
                    with contextlib.suppress(JobError):  # what was measured is kept; a result of which it is a part says why it ended
                        self._count(clients, driver, counted)
                    findings = self._findings(clients, driver, announce)
            finally:
                left_behind = clients.clean_or_say()
        if not runs and not request.load_only:
            raise JobCancelled(cut_short)
        facts = self._facts(request, clients, runs, prepared, ceiling)
        facts["load"] |= {"cut_short": cut_short, "left_behind": left_behind, "counted": counted, "findings": findings}
        phases = {PREPARE: Phase(PREPARE, ready_ns)}
        return Record(phases, {PREPARE: Series(PREPARE, values=array("q", [ready_ns]))}, facts)

    def _run_phases(self, clients: Clients, phases: Sequence[PhasePlan], runs: list[PhaseRun], announce: Announce) -> str:
        """Run each phase, and return why the last ones were left out. What was measured before is kept.

        Raises:
            JobError: The service cannot be reached before anything was measured.
        """
        for number, phase in enumerate(phases):
            try:
                clients.make_ready(number)
            except JobError as error:
                if not runs:
                    raise
                return f"the phase {phase.name} could not begin: {error.detail}"
            if number == 0:
                announce("measuring")
            run = clients.run(number, partial(_tell, announce, number, len(phases)))
            if run.ended_early_s is None:
                runs.append(run)
                continue
            if run.ended_early_s > 0:
                runs.append(run)
            return f"the phase {phase.name} was ended {max(0.0, run.ended_early_s):.1f} s after it had begun"
        return ""

    def _findings(self, clients: Clients, driver: str, announce: Announce) -> dict[str, Any]:
        """Return what each process found when it compared its answers with known ones.

        It is empty if the work shall end, or if no process lives any more; the result says so elsewhere.
        """
        if driver not in DRIVERS or not DRIVERS[driver].searches:
            return {}
        announce("comparing the answers with an exact search")
        try:
            return {str(client): found for client, found in clients.findings().items()}
        except JobError:
            return {}

    def _count(self, clients: Clients, driver: str, counted: list[dict[str, float]]) -> None:
        """Add what the service has counted itself until now, if it tells. A service that does not costs those figures alone."""
        if DRIVERS.get(driver, DriverEntry("")).counts and (told := clients.counted()) is not None:
            counted.append(told)

    def _ceiling(self, request: RunRequest, plans: Sequence[ClientPlan], driver: str, announce: Announce) -> float | None:
        """Return the ceiling of these clients. It is measured once in a job, by its first repeat."""
        kept = Path(request.record_path).parent / CEILING_FILE
        if kept.exists():
            known: float | None = json.loads(kept.read_text())
            return known
        announce("measuring what the clients can do")
        entry = DRIVERS.get(driver, DriverEntry(""))
        found = measure_ceiling(plans, entry.wire, int(plans[0].settings.get(entry.answer_size) or 2))
        kept.write_text(json.dumps(found))
        return found

    def _facts(
        self, request: RunRequest, clients: Clients, runs: Sequence[PhaseRun], prepared: Mapping[str, Any], ceiling: float | None
    ) -> dict[str, Any]:
        kept = [
            {
                "phase": run.name,
                "began_at": run.began_at,
                "files": {str(client): str(path) for client, path in run.files.items()},
                "counts": {str(client): count for client, count in run.counts.items()},
                "processes": {str(client): facts for client, facts in run.facts.items()},
                "died": {str(client): why for client, why in run.died.items()},
                "ended_early_s": run.ended_early_s,
            }
            for run in runs
        ]
        facts: dict[str, Any] = {
            "load": {"runs": kept, "operations": clients.facts["operations"], "ceiling_per_s": ceiling, "prepared": dict(prepared)},
            "runtime": {"runtime": f"{clients.facts['wire']} driver", "capability": request.capability, "loop": clients.facts["loop"]},
            "software": {**clients.facts["software"], **prepared.get("server", {})},
        }
        if runs:
            from worker.load.phases import rate  # needs numpy, which the guard must not hold in memory

            phases, fills = phases_of(facts["load"], request.spec), fills_of(driver_of(request.capability))
            facts["requests_per_s"] = rate([phase for phase in phases if phase.phase not in fills] or phases)
            last = runs[-1].facts.values()
            if last and all(one["gave_up"] for one in last):
                facts["incomplete"] = f"the service at {without_logins(request.address)} stopped answering: {next(iter(last))['gave_up']}"
        return facts

    def further_loads(self, workload: Workload) -> int:
        del workload
        return 0

    def stop_value(self, record: Record) -> float:
        """Return the requests per second of one repeat."""
        return float(record.facts["requests_per_s"])

    def derive(self, workload: Workload, repeats: Sequence[Repeat], loads: Sequence[Record], stopped_because: str) -> Derived:
        from shared.request_records import NAME  # these need pydantic and numpy, which the guard must not hold in memory
        from worker.load.counted import with_counted
        from worker.load.figures import outcome_of
        from worker.load.search_figures import said_of, search_figures
        from worker.load.units import facts_of_requests, units_of

        spec = workload.spec.model_dump(mode="json")
        known = [repeat.record.facts["load"] for repeat in repeats]
        if tool_of(spec):
            return _derived_of_tool(known, spec, stopped_because)
        died = [why for one in known for why in one["runs"][-1]["died"].values()]
        gave_up = sorted({f["gave_up"] for one in known for run in one["runs"] for f in run["processes"].values() if f["gave_up"]})
        lost = sum(f["lost"] for one in known for run in one["runs"] for f in run["processes"].values())
        opened = sum(f["opened"] for one in known for f in one["runs"][-1]["processes"].values())
        said = next((f["said"] for one in known for run in one["runs"] for f in run["processes"].values() if f["said"]), "")
        cut_short = [one["cut_short"] for one in known if one["cut_short"]]
        ceiling = known[0]["ceiling_per_s"]
        phases = [phases_of(one, spec) for one in known]
        found = [one.get("findings") or {} for one in known]
        searched = any(found)
        outcome = outcome_of(
            phases,
            service_type=spec["service"]["type"],
            operations=known[0]["operations"],
            concurrency=spec["num_clients"] * in_flight(spec),
            ceiling_per_s=ceiling,
            no_ceiling="there is no null server for this protocol",
            units=units_of(spec["service"]["type"], spec["client"]["settings"]),
            fills=fills_of(spec["service"]["type"]),
            found=search_figures(found, known[0]["prepared"]["vectors"]) if searched else {},
            detail={
                "stopped_because": stopped_because,
                "prepared": known[0]["prepared"],
                "connections": {"opened": opened, "lost": lost},
                "client_processes": {"asked": spec["num_clients"], "died": died, "gave_up": gave_up},
                "first_error_of_the_service": said,
                "cut_short": cut_short,
                "left_behind": [one["left_behind"] for one in known if one["left_behind"]],
                "partial": bool(died or gave_up or cut_short),
                **({"search": said_of(found)} if searched else {}),
            },
        )
        outcome = with_counted(outcome, spec["service"]["type"], [one.get("counted", []) for one in known])
        per_s = outcome.figures[0].value or 0.0
        in_words = f"{per_s:.1f} requests/s over {len(repeats)} repeats"
        folder = Path(next(iter(known[0]["runs"][0]["files"].values()))).parent
        facts = facts_of_requests(spec["service"]["type"], spec["client"]["settings"])
        requests = write_requests(folder / NAME, known, phases, spec["service"]["type"], facts)
        return Derived(in_words, outcome=outcome, files={NAME: requests})


def _tell(announce: Announce, number: int, phases: int, share: float, news: str) -> None:
    """Announce how one of several phases goes. Each of them counts as the same share of the repeat."""
    announce(with_news("measuring", (number + share) / phases, news))


def _derived_of_tool(known: Sequence[Mapping[str, Any]], spec: Mapping[str, Any], stopped_because: str) -> Derived:
    """Return the result of a job that a tool of other people has driven."""
    from shared.request_records import NAME  # these need pydantic and numpy, which the guard must not hold in memory
    from worker.load.figures import outcome_of
    from worker.tools.outcome import of_tool

    stopped = sorted({f["gave_up"] for one in known for run in one["runs"] for f in run["processes"].values() if f["gave_up"]})
    stopped += sorted({told["stopped"] for one in known for told in one["prints"] if told["stopped"]})
    phases = [measured_of(one, spec) for one in known]
    outcome = outcome_of(
        phases,
        service_type=spec["service"]["type"],
        operations=known[0]["operations"],
        concurrency=spec["num_clients"] * in_flight(spec),
        ceiling_per_s=None,
        detail={
            "stopped_because": stopped_because,
            "prepared": known[0]["prepared"],
            "client_processes": {"asked": spec["num_clients"], "died": [], "gave_up": stopped},
            "cut_short": (cut_short := [one["cut_short"] for one in known if one["cut_short"]]),
            "left_behind": [one["left_behind"] for one in known if one["left_behind"]],
            "partial": bool(stopped or cut_short),
        },
    )
    outcome = of_tool(outcome, known, spec["load"]["rate"])
    in_words = f"{outcome.figures[0].value or 0.0:.1f} requests/s over {len(known)} repeats, sent by {known[0]['tool']['version']}"
    if not all(one["runs"] for one in known):  # the tool tells nothing of single requests
        return Derived(in_words, outcome=outcome)
    folder = Path(known[0]["runs"][0]["files"]["0"]).parent
    return Derived(in_words, outcome=outcome, files={NAME: write_requests(folder / NAME, known, phases, spec["service"]["type"])})


def phases_of(known: Mapping[str, Any], spec: Mapping[str, Any]) -> list[Measured]:
    """Return the phases of one repeat. Their records are read when they are needed."""
    from worker.load.phases import Measured
    from worker.load.records import RecordFile

    durations = {phase["name"]: phase["duration_s"] for phase in spec["phases"]}
    closed, fills = spec["load"]["pattern"] in CLOSED_PATTERNS, fills_of(spec["service"]["type"])
    found = []
    for run in known["runs"]:
        files = tuple(RecordFile(Path(path), run["counts"][client]) for client, path in run["files"].items())
        window_s = _window_s(durations[run["phase"]], run.get("ended_early_s"))
        open_loop = not closed and run["phase"] not in fills
        to_last_answer = open_loop and spec["load"]["pattern"] == "trace"
        one = Measured(run["phase"], files, window_s, open_loop, to_last_answer=to_last_answer)
        if run["died"] and open_loop:  # nobody has recorded what the dead ones were to send
            one = replace(one, asked=expected(spec["load"], one.window_s(), durations[run["phase"]]))
        found.append(one)
    return found


def _window_s(asked_s: float | None, ended_early_s: float | None) -> float | None:
    return min(one for one in (asked_s, ended_early_s) if one is not None) if asked_s is not None or ended_early_s is not None else None
