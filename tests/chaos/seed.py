"""Runs one plan on a whole system while it runs a campaign, and reports the faults that were found afterwards."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.audit import Books, audit, processes_left, read_books
from tests.chaos.client import Client, short_jobs
from tests.chaos.faults import Chaos
from tests.chaos.plan import GOES_BACK, Fault, Plan, written
from tests.chaos.system import System, system_in

SETTLE_S = 90.0  # the system still sends answers and acknowledgements and writes files after the last result


@dataclass
class Verdict:
    """Holds the outcome of a plan. `problems` is empty if no check failed."""

    folder: Path
    plan: Plan
    problems: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    missed: list[Fault] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)  # the number of the API's answers to the client, by status or error
    jobs: Counter[str] = field(default_factory=Counter)  # the number of jobs, by how they ended
    events: Counter[str] = field(default_factory=Counter)  # the number of events, by kind
    attempts: int = 0  # the number of issued attempts of all jobs
    wall_s: float = 0.0  # the duration of the campaign, from the first POST to its end
    recovery_s: float = 0.0  # the part of this duration that came after the last fault

    def line(self) -> str:
        """Return a one-line summary for people."""
        faults = " ".join(f"{kind} {number}" for kind, number in sorted(self.done.items()))
        jobs = ", ".join(f"{number} {status}" for status, number in self.jobs.most_common())
        also = ", ".join(f"{self.events[kind]} {kind}" for kind in ("lost", "handed_back", "unwanted") if self.events[kind])
        missed = f" (missed {len(self.missed)})" if self.missed else ""
        verdict = "ok" if not self.problems else f"FAILED, {len(self.problems)} problems"
        return (
            f"{verdict}: {sum(self.done.values())} faults{missed}: {faults}; {jobs} in {self.wall_s:.0f} s, "
            f"{self.recovery_s:.0f} s after the last fault; {self.attempts} attempts{', ' if also else ''}{also}"
        )

    def report(self) -> str:
        """Return all information that is needed to investigate a failure."""
        return "\n".join([*self.problems[:50], f"logs and outputs: {self.folder}", "the plan:", written(self.plan)])


def run(plan: Plan, folder: Path, *, locked: bool = False, forties: int = 5) -> Verdict:
    """Run a plan in a new folder. Problems are returned in the verdict and not raised.

    Args:
        locked: True for a system with tokens, a login for each worker, and signed reports.
        forties: how many times 40 jobs run meanwhile.
    """
    folder.mkdir(parents=True)
    (folder / "plan.txt").write_text(written(plan))
    verdict = Verdict(folder, plan)
    with system_in(folder, locked=locked) as system:
        system.start()
        client, chaos = Client(system), Chaos(system, plan)
        begin = time.monotonic()
        chaos.start()
        try:
            campaign_id = client.submit(short_jobs(folder, forties), key=f"chaos-{folder.name}")
            client.look_at(campaign_id, may_go_back=any((fault.kind, fault.target) == GOES_BACK for fault in plan))
            chaos.wait()
            calm = time.monotonic()
            verdict.problems += _not_ended(client, campaign_id)
            verdict.wall_s, verdict.recovery_s = time.monotonic() - begin, time.monotonic() - calm
            verdict.problems += _unsettled(system, client, campaign_id, 0 if verdict.problems else SETTLE_S)
        finally:
            chaos.call_off()
            client.close()
        books = read_books(system, campaign_id)
        _count(verdict, books)
        verdict.done, verdict.missed, verdict.answers = chaos.done, chaos.missed, client.answers
        verdict.problems += [*client.problems, *chaos.user.problems]
        system.stop()
        verdict.problems += [end for part in system.parts.values() for end in part.by_itself]
        verdict.problems += [*processes_left(system), *system.leaks()]
    return verdict


def _not_ended(client: Client, campaign_id: str) -> list[str]:
    try:
        client.ended(campaign_id)
    except AssertionError as error:
        return [str(error)]
    return []


def _unsettled(system: System, client: Client, campaign_id: str, patience_s: float) -> list[str]:
    """Return all problems that remain after the system had time to come to rest."""
    until = time.monotonic() + patience_s
    while (found := audit(system, client, campaign_id)) and time.monotonic() < until:
        time.sleep(1)
    return found


def _count(verdict: Verdict, books: Books) -> None:
    verdict.jobs = Counter(job["status"] for job in books.jobs)
    verdict.events = Counter(event["kind"] for events in books.events.values() for event in events)
    verdict.attempts = sum(job["attempt"] for job in books.jobs)
