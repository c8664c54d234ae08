"""Defines what each kind of work says in the reports.

The reports have much in common, whatever was measured: the head of a page, what failed, devices, noise, money and parameters. A sheet
adds what belongs to its kind alone. The port is `Sheet`. `OutcomeSheet` implements it for a kind whose result is an `Outcome`, so such a
kind says little more than which figures fill which columns.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from orchestrator.reports.bundle import CampaignBundle, EndedJob, JobRecord
from orchestrator.reports.columns import Row
from orchestrator.reports.facts import CAPABILITY, DEVICE, OF_MACHINE, OF_SOFTWARE, PROCESSOR, WARMUP, Fact
from orchestrator.reports.outcomes.cells import cells_of_outcome
from orchestrator.reports.outcomes.joining import joined_figure
from orchestrator.reports.outcomes.page import OutcomePage
from orchestrator.reports.outcomes.work import AskedWork, asked_work
from orchestrator.reports.page_parts import Picture
from shared.figures import Figure, FigureKind, Outcome
from shared.jobs import JobStatus
from shared.kinds.registry import KINDS
from shared.protocol.messages import Result


class Work(Hashable, Protocol):
    """Describes what a job measured. Jobs with equal works answer the same question."""

    def may_be_ranked(self) -> bool:
        """Return whether the work is known well enough to compare it with an equal one."""


class Page(Protocol):
    """Makes `report.json`, `report.md` and the pictures of one campaign. It takes the jobs one by one, and keeps little of each."""

    def add(self, job: JobRecord) -> None: ...

    def pictures(self, folder: Path, title: str) -> Iterator[Picture]:
        """Draw the pictures in the order of the page. This is called once, after all jobs were added.

        Args:
            folder: the folder of the campaign, where the raw samples are.
        """

    def content(self, bundle: CampaignBundle, pictures: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """Return the content of `report.json`.

        Args:
            pictures: the path of each picture, and what it shows.
        """

    def markdown(self, content: dict[str, Any]) -> str:
        """Return `report.md`, made from the content of `report.json` alone."""


class Sheet(Protocol):
    """Says what the reports and comparisons of one kind of work contain.

    Attributes:
        service_type: how `summary.json` calls what was measured.
        missing: why keys of `summary.json` are always null for this kind.
        headline: the figure that stands for a job in a list, and by which campaigns are compared unless another is named.
        figures: the figures that a comparison knows, by name.
        compared: the names of those that each repeat has, so that a test can compare two jobs by them.
        must_be_equal: the facts that must be equal before two jobs may be compared.
        worth_a_warning: the facts that are named beside a verdict if they differ.
        answers: the names of facts that distinguish jobs of the same work on one device, such as the number of threads.
        length: the names of facts that say how long a job measures.
    """

    @property
    def service_type(self) -> str: ...
    @property
    def missing(self) -> Mapping[str, str]: ...
    @property
    def headline(self) -> str: ...
    @property
    def figures(self) -> Mapping[str, FigureKind]: ...
    @property
    def compared(self) -> Sequence[str]: ...
    @property
    def must_be_equal(self) -> tuple[Fact, ...]: ...
    @property
    def worth_a_warning(self) -> tuple[Fact, ...]: ...
    @property
    def answers(self) -> Sequence[str]: ...
    @property
    def length(self) -> Sequence[str]: ...

    def outcome(self, result: Result) -> Outcome | None:
        """Return the figures of a complete result. Verdicts, lists and trends see nothing else of it."""

    def scores(self, result: Result) -> Sequence[Figure]:
        """Return the figures that say how good the answers of a complete result are. Each exists once in a job, so no test compares it."""

    def steadiness(self, result: Result) -> str:
        """Return whether the measured values were steady: `steady`, `not steady`, `unknown`, or an empty text."""

    def cells(self, job: EndedJob, result: Result) -> Row:
        """Return the cells of the CSV that a complete result fills, besides those that every job has."""

    def summary_entry(self, job: JobRecord) -> dict[str, Any]:
        """Return what a job's entry in `summary.json` holds, besides what every job has. The keys are the same if nothing was measured."""

    def units(self, entry: Mapping[str, Any]) -> int:
        """Return how many units of work a job's entry in `summary.json` counts, such as inferences."""

    def failed_units(self, entry: Mapping[str, Any]) -> int | None:
        """Return how many of these failed, or None for a kind of work in which a unit that fails ends its job."""

    def service_type_of(self, job: JobRecord) -> str:
        """Return how `summary.json` calls what a job measured."""

    def work_of(self, job: JobRecord) -> Work: ...

    def asked(self, job: JobRecord) -> tuple[str, str]:
        """Return what a job was asked for: its name, and everything else as text. Equal texts ask for the same."""

    def settings(self, job: JobRecord) -> tuple[str | None, ...]:
        """Return the settings that may differ between jobs of the same work and that are no axis of a matrix."""

    def joined(self, figures: Sequence[Figure]) -> Figure:
        """Return one figure for several jobs of the same work with the same settings: null with the reason if there is none."""

    def page(self, labels: Mapping[str, str], varied: Sequence[str]) -> Page:
        """Return an empty page.

        Args:
            labels: the name of each device, by its worker's id.
            varied: the paths into a job at which the recipe's jobs differ.
        """


class PlainUnits:
    """Says of units of work what most kinds say: one that fails ends its job, all are called like the kind, and nobody judges them."""

    service_type: str

    def failed_units(self, entry: Mapping[str, Any]) -> int | None:
        del entry
        return None

    def service_type_of(self, job: JobRecord) -> str:
        del job
        return self.service_type

    def scores(self, result: Result) -> Sequence[Figure]:
        del result
        return ()


class OutcomeSheet(PlainUnits):
    """Is the sheet of a kind of work whose result is an `Outcome`. It shows every figure, whatever it is called.

    A kind of work derives from this class and says in `columns` which figures fill which columns of the CSV. `loads` and `units_of_work`
    name the distributions that fill the columns `LoadMs…` (making ready) and `InferenceMs…` (one unit of work).
    """

    missing: Mapping[str, str] = {
        "failed_requests": "a unit of work that fails ends its job; see `jobs_by_status`",
        "health": "no service was measured",
    }
    must_be_equal: tuple[Fact, ...] = (
        Fact("work", "what was asked for, with the SHA-256 of the inputs", lambda _job, work: work.text or None),
        CAPABILITY,
        DEVICE,
        PROCESSOR,
    )
    worth_a_warning: tuple[Fact, ...] = (*OF_SOFTWARE, *OF_MACHINE, WARMUP)
    answers: Sequence[str] = ()
    length: Sequence[str] = ("warm-up",)
    columns: Mapping[str, str] = {}
    loads = "load"
    units_of_work = "unit"

    def __init__(self, kind: str) -> None:
        known = KINDS.get(kind)  # a newer version may have accepted the job
        self.service_type = kind
        self.headline = known.headline if known is not None else ""
        self.figures: Mapping[str, FigureKind] = known.figures if known is not None else {}
        self.compared = tuple(name for name, one in self.figures.items() if one.better != "neither")

    def outcome(self, result: Result) -> Outcome | None:
        return result.outcome

    def steadiness(self, result: Result) -> str:
        del result
        return ""

    def cells(self, job: EndedJob, result: Result) -> Row:
        del job
        outcome = self.outcome(result)
        if outcome is None:
            return {}
        return cells_of_outcome(outcome, result, self.columns, loads=self.loads, units=self.units_of_work)

    def summary_entry(self, job: JobRecord) -> dict[str, Any]:
        outcome = self.outcome(job.result) if job.result is not None else None
        if outcome is not None and job.status is not JobStatus.COMPLETE and not outcome.partial:
            outcome = None
        return {
            "kind": job.kind,
            "headline": outcome.headline if outcome else self.headline or None,
            "figures": {one.name: one.model_dump(mode="json", exclude={"name"}) for one in outcome.figures} if outcome else {},
            "distributions": {name: one.model_dump(mode="json") for name, one in outcome.distributions.items()} if outcome else {},
            "detail": outcome.detail if outcome else {},
        }

    def units(self, entry: Mapping[str, Any]) -> int:
        measured = entry["distributions"].get(self.units_of_work)
        return int(measured["n"]) if measured else 0

    def work_of(self, job: JobRecord) -> AskedWork:
        return asked_work(job)

    def asked(self, job: JobRecord) -> tuple[str, str]:
        return job.name, self.work_of(job).text

    def settings(self, job: JobRecord) -> tuple[str | None, ...]:
        del job
        return ()

    def joined(self, figures: Sequence[Figure]) -> Figure:
        return joined_figure(figures)

    def page(self, labels: Mapping[str, str], varied: Sequence[str]) -> Page:
        return OutcomePage(self.service_type, self.headline, labels, varied)
