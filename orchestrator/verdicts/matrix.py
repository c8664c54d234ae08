"""Arranges a campaign's jobs as a matrix: one cell for each combination of values on the axes, such as device, capability and model.

A cell never mixes different questions. If jobs of different work meet in one cell, it has no value, and it says by what to split it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.reports.bundle import JobRecord
from orchestrator.reports.parameters import job_parameters, written
from orchestrator.reports.runtimes import provider_of, threads_of
from orchestrator.reports.sheets.base import Sheet, Work
from orchestrator.reports.sheets.registry import sheet_of
from orchestrator.verdicts.figures import Metric, figure_of
from shared.capabilities import LABELS
from shared.errors import FieldError, InvalidInput, nearest
from shared.figures import Figure
from shared.jobs import JobStatus

UNKNOWN = "unknown"
Answers = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """Holds what the matrix needs of one job.

    Attributes:
        at: the job's value on every axis, by the axis's name.
        answers: what may differ between jobs of the same work: device, capability, provider, threads and level of optimisation.
        figure: the figure of the job; None if it is missing.
        missing: why it is missing, or empty.
        sheet: the sheet of its kind of work.
    """

    job_id: str
    at: dict[str, str]
    work: Work
    answers: Answers
    figure: Figure | None
    missing: str
    noise: str
    sheet: Sheet

    @property
    def value(self) -> float | None:
        return self.figure.value if self.figure is not None else None


def _capability(job: JobRecord) -> str:
    return job.result.capability if job.result is not None else job.capability or job.compute_unit


def _batch(job: JobRecord) -> str:
    batch = job.result.runtime.get("batch_size") if job.result is not None else None
    return str(batch) if batch is not None else UNKNOWN


def _provider(job: JobRecord) -> str:
    return (provider_of(job.result.runtime) if job.result is not None else None) or UNKNOWN


def _threads(job: JobRecord) -> str:
    threads = threads_of(job.result.runtime) if job.result is not None else None
    return str(threads) if threads is not None else UNKNOWN


# These axes need nothing but the job. `device` and `parameters` need what is known of the whole campaign.
_OF_JOB: dict[str, Callable[[JobRecord], str]] = {
    "capability": _capability,
    "model": lambda job: job.name,
    "provider": _provider,
    "batch": _batch,
    "threads": _threads,
}
AXES = ("device", *_OF_JOB, "parameters")
DEFAULT_AXES = ("device", "capability", "model")


def axes_of(text: str) -> tuple[str, ...]:
    """Return the axes that a text names, with commas between them: `device,capability,model`.

    Raises:
        InvalidInput: one of them is no axis, or none is named.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    wrong = [name for name in names if name not in AXES]
    if wrong or not names:
        message = f"{wrong[0]!r:.80} is no axis: {nearest(wrong[0], list(AXES))}" if wrong else f"name an axis: {', '.join(AXES)}"
        raise InvalidInput(f"by: {message}", fields=[FieldError("query.by", message)])
    return tuple(dict.fromkeys(names))


def entry_of(job: JobRecord, metric: Metric, device: str, varied: Sequence[str] = ()) -> Entry:
    """Return the entry of a job.

    Args:
        device: the label of the device that measured it; empty if none did.
        varied: the paths into a job at which the jobs of its recipe differ.
    """
    sheet = sheet_of(job.kind)
    measured = job.result is not None and job.status is JobStatus.COMPLETE
    figure = figure_of(sheet, job.result, metric.name) if job.result is not None and measured else None
    figure = figure if figure is not None and figure.value is not None else None
    parameters = "" if job.unreadable else written(job_parameters(job.workload.model_dump(mode="json"), varied))
    at = {name: read(job) for name, read in _OF_JOB.items()} | {"device": device or "no device", "parameters": parameters}
    if figure is not None:
        missing = ""
    elif job.status is not JobStatus.COMPLETE:
        missing = f"the job is {job.status.value}"
    else:
        missing = f"it has no {metric.name}" if measured else "it has no result that this version can read"
    return Entry(
        job_id=job.job_id,
        at=at,
        work=sheet.work_of(job),
        answers=(
            job.result.worker_id if job.result is not None else None,
            at["capability"],
            at["provider"],
            at["threads"],
            *sheet.settings(job),
        ),
        figure=figure,
        missing=missing,
        noise=job.result.noise.grade if job.result is not None and job.result.noise else "",
        sheet=sheet,
    )


@dataclass(frozen=True, slots=True)
class Cell:
    """Holds one cell of the matrix.

    Attributes:
        at: its place, one value for each axis.
        value: the figure; None with the reason in `missing`.
        of_best: the value divided by the best value of the same work in the matrix; None if its work is not known.
        noise: the worst grade of its jobs.
    """

    at: dict[str, str]
    job_ids: tuple[str, ...]
    value: float | None
    low: float | None
    high: float | None
    missing: str
    of_best: float | None
    noise: str


def matrix(entries: Sequence[Entry], by: Sequence[str], metric: Metric) -> list[Cell]:
    """Return the cells of the matrix, in the order in which their first jobs come. Places without a job have no cell."""
    groups: dict[tuple[str, ...], list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[tuple(entry.at[name] for name in by)].append(entry)
    cells = [(dict(zip(by, place, strict=True)), members, _joined(members)) for place, members in groups.items()]
    best = _best([(_work(members), joined.value) for _, members, joined in cells], metric)
    return [
        Cell(
            at=at,
            job_ids=tuple(one.job_id for one in members),
            value=joined.value,
            low=joined.low,
            high=joined.high,
            missing=joined.missing,
            of_best=joined.value / best[_work(members)] if joined.value is not None and _work(members) in best else None,
            noise=max((one.noise for one in members), key=_GRADES.index),
        )
        for at, members, joined in cells
    ]


_GRADES = ("", "quiet", "fair", "noisy")


@dataclass(frozen=True, slots=True)
class _Joined:
    value: float | None = None
    low: float | None = None
    high: float | None = None
    missing: str = ""


def _work(members: Sequence[Entry]) -> Work:
    """Return the work of the jobs of one cell that were measured. Of a job that failed, the work is only known in part."""
    return next((one.work for one in members if one.value is not None), members[0].work)


def _joined(members: Sequence[Entry]) -> _Joined:
    """Return the figure of the jobs of one cell."""
    measured = [(one, one.figure) for one in members if one.figure is not None]
    if not measured:
        return _Joined(missing=members[0].missing)
    questions, answers = {one.work for one, _ in measured}, {one.answers for one, _ in measured}
    if len(questions) > 1 or len(answers) > 1:
        what = "of different work" if len(questions) > 1 else "with different settings"
        return _Joined(missing=f"{len(measured)} jobs {what} meet here; add an axis to `by`: {', '.join(AXES)}")
    if len({_asked(one) for one in members}) > 1:
        # Otherwise the cell would show the only value that is there, beside that of another setting in another cell.
        what = "that differ in what was asked for meet here, and some have no value"
        return _Joined(missing=f"{len(members)} jobs {what}; add an axis to `by`: {', '.join(AXES)}")
    first, figure = measured[0]
    joined = figure if len(measured) == 1 else first.sheet.joined([figure for _, figure in measured])
    if joined.value is None:
        return _Joined(missing=joined.missing)
    interval = joined.interval
    return _Joined(joined.value, interval.low if interval else None, interval.high if interval else None)


def _asked(entry: Entry) -> tuple[str, ...]:
    """Return what a job was asked to measure. This is known also of a job that failed, or that no device ever got."""
    capability = entry.at["capability"]  # of a job that no device got, this is the label that the recipe may have named
    return LABELS.get(capability, capability), entry.at["model"], entry.at["parameters"]


def _best(values: Sequence[tuple[Work, float | None]], metric: Metric) -> dict[Work, float]:
    """Return the best value of each work whose content is known. Values that are not above 0 have no ratio."""
    by_work: dict[Work, list[float]] = defaultdict(list)
    for work, value in values:
        if value is not None and value > 0 and work.may_be_ranked():
            by_work[work].append(value)
    return {work: min(known) if metric.better == "lower" else max(known) for work, known in by_work.items()}
