"""Makes the side of a pair from a job: its identity, its facts and one value for each repeat. It is small, unlike the job's result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.reports.bundle import JobRecord
from orchestrator.reports.parameters import job_parameters, written
from orchestrator.reports.sheets.base import Work
from orchestrator.reports.sheets.registry import sheet_of
from orchestrator.verdicts.facts import facts_of
from orchestrator.verdicts.figures import Metric, facts_for, figure_of
from shared.capabilities import LABELS
from shared.figures import Figure
from shared.jobs import JobStatus

Asked = tuple[str, str, str]
Facts = dict[str, str | None]


@dataclass(frozen=True, slots=True)
class Side:
    """Holds what a comparison needs of one job.

    Attributes:
        title: the model's name, with the values that the recipe varied.
        device_id: the id of the worker that ran it; empty if none did.
        device: the device's label; empty if no device measured it.
        unit: the label of the compute unit.
        work: what it measured, as far as it is known.
        asked: what it was asked for: its name, compute unit and options.
        facts: what must be equal, by name.
        more_facts: what is worth a warning, by name.
        answers: the facts that distinguish jobs of the same work on one device.
        length: the facts that say how long it measured.
        values: the figure of each repeat; empty if it is missing.
        problem: why it has no values, as the end of a sentence such as "BASE failed: …"; else empty.
        scores: how good the answers are, which no test compares.
        noise: the grade of its machine; empty if it was not graded.
    """

    job_id: str
    status: JobStatus
    title: str
    device_id: str
    device: str
    unit: str
    work: Work
    asked: Asked
    facts: Facts
    more_facts: Facts
    answers: tuple[str | None, ...] = ()
    length: tuple[str | None, ...] = ()
    values: tuple[float, ...] = ()
    problem: str = ""
    scores: tuple[Figure, ...] = ()
    noise: str = ""
    noise_reasons: tuple[str, ...] = ()
    steadiness: str = ""


def side_of(job: JobRecord, metric: Metric, varied: Sequence[str] = (), labels: Mapping[str, str] | None = None) -> Side:
    """Return the side that a job is.

    Args:
        labels: the name of each device, by its worker's id. A device that is not listed keeps its own name.
        varied: the paths into a job at which the jobs of its recipe differ (see `reports.parameters`).
    """
    result, sheet = job.result, sheet_of(job.kind)
    work = sheet.work_of(job)
    name, options = sheet.asked(job)
    parameters = written(job_parameters(job.workload.model_dump(mode="json"), varied)) if varied and not job.unreadable else ""
    capability = result.capability if result is not None else job.compute_unit
    measured = result if job.status is JobStatus.COMPLETE and result is not None and sheet.outcome(result) is not None else None
    figure = figure_of(sheet, measured, metric.name) if measured is not None else None
    values = figure.repeats if figure is not None else ()
    facts = facts_of(job, work, (*sheet.must_be_equal, *facts_for(metric)))
    more_facts = facts_of(job, work, sheet.worth_a_warning)
    known = facts | more_facts
    return Side(
        job_id=job.job_id,
        status=job.status,
        title=", ".join(filter(None, (name, parameters))),
        device_id=(result.worker_id if result is not None else job.worker_id) or "",
        device=(labels or {}).get(result.worker_id, result.device.name) if result is not None else "",
        unit=LABELS.get(capability, capability),
        work=work,
        asked=(name, LABELS.get(job.compute_unit, job.compute_unit), options),
        facts=facts,
        more_facts=more_facts,
        answers=tuple(known[fact] for fact in sheet.answers),
        length=tuple(known[fact] for fact in sheet.length),
        values=values if values and min(values) > 0 else (),
        problem=_problem(job, metric.name, figure, measured=measured is not None),
        scores=tuple(sheet.scores(measured)) if measured is not None else (),
        noise=result.noise.grade if result is not None and result.noise else "",
        noise_reasons=tuple(result.noise.reasons) if result is not None and result.noise else (),
        steadiness=sheet.steadiness(measured) if measured is not None else "",
    )


def _problem(job: JobRecord, metric: str, figure: Figure | None, *, measured: bool) -> str:
    if job.status is not JobStatus.COMPLETE:
        error = (job.result.error if job.result is not None else "") or job.error
        return _ENDED.get(job.status, f"is {job.status.value}") + (f": {error}" if error else "")
    if not measured:
        return "has no result that this version can read"
    values = figure.repeats if figure is not None else ()
    if not values:
        return f"has no {metric}" + (f": {figure.missing}" if figure is not None and figure.missing else "")
    return "" if min(values) > 0 else f"has a repeat with {metric} {min(values):g}, which has no ratio"


_ENDED = {JobStatus.FAILED: "failed", JobStatus.CANCELLED: "was cancelled"}
