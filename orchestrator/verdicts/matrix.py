"""Arranges a campaign's jobs as a matrix: one cell for each combination of values on the axes, such as device, capability and model.

A cell never mixes different questions. If jobs of different work meet in one cell, it has no value, and it says by what to split it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.reports.bundle import JobRecord
from orchestrator.reports.parameters import job_parameters, written
from orchestrator.reports.rows import provider_of, threads_of
from orchestrator.reports.same_work import Work, work_of
from orchestrator.verdicts.figures import FigureKind, repeat_values
from shared.errors import FieldError, InvalidInput, nearest
from shared.jobs import JobStatus
from shared.measurements import Summary
from shared.stats import median_interval_of_repeats
from shared.workloads import inference_of

UNKNOWN = "unknown"
PEAKS = frozenset({"inference_peak_mb", "load_peak_mb"})
Answers = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """Holds what the matrix needs of one job.

    Attributes:
        at: the job's value on every axis, by the axis's name.
        answers: what may differ between jobs of the same work: device, capability, provider, threads and level of optimisation.
        value: the figure of the job; None if it is missing.
        missing: why it is missing, or empty.
        repeats: the figure of each repeat; empty if a repeat has no such figure.
    """

    job_id: str
    at: dict[str, str]
    work: Work
    answers: Answers
    value: float | None
    low: float | None
    high: float | None
    missing: str
    repeats: tuple[float, ...]
    noise: str


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


def _more_settings(job: JobRecord) -> Answers:
    """Return the settings that have no axis of their own, and differ along `parameters`: threads across operators, and graph level."""
    runtime, options = job.result.runtime if job.result is not None else {}, inference_of(job.workload).options
    threads = runtime.get("threads")
    between = threads.get("inter_op") if isinstance(threads, dict) else options.inter_threads
    graph = runtime.get("graph_level") or options.graph
    return tuple(None if value is None else str(value) for value in (between, graph))


# The axes that need nothing but the job. `device` and `parameters` need what is known of the whole campaign.
_OF_JOB: dict[str, Callable[[JobRecord], str]] = {
    "capability": _capability,
    "model": lambda job: job.workload.model.name,
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


def entry_of(job: JobRecord, kind: FigureKind, device: str, varied: Sequence[str] = ()) -> Entry:
    """Return the entry of a job.

    Args:
        device: the label of the device that measured it; empty if none did.
        varied: the paths into a job at which the jobs of its recipe differ.
    """
    summary = job.result.summary if job.result is not None and job.status is JobStatus.COMPLETE else None
    value = kind.value(summary) if summary is not None else None
    interval = kind.interval(summary) if summary is not None else None
    parameters = "" if job.unreadable else written(job_parameters(job.workload.model_dump(mode="json"), varied))
    at = {name: read(job) for name, read in _OF_JOB.items()} | {"device": device or "no device", "parameters": parameters}
    missing = "" if value is not None else f"the job is {job.status.value}" if summary is None else f"it has no {kind.name}"
    return Entry(
        job_id=job.job_id,
        at=at,
        work=work_of(job),
        answers=(job.result.worker_id if job.result else None, at["capability"], at["provider"], at["threads"], *_more_settings(job)),
        value=value,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        missing=missing,
        repeats=_repeats(kind, summary) if summary is not None else (),
        noise=job.result.noise.grade if job.result is not None and job.result.noise else "",
    )


def _repeats(kind: FigureKind, summary: Summary) -> tuple[float, ...]:
    """Return the figure of each repeat. It is empty for load times if other processes loaded the model, too: their times are not known."""
    return () if kind.name == "load_ms" and summary.load.n != len(summary.repeats) else repeat_values(kind, summary)


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


def matrix(entries: Sequence[Entry], by: Sequence[str], kind: FigureKind) -> list[Cell]:
    """Return the cells of the matrix, in the order in which their first jobs come. Places without a job have no cell."""
    groups: dict[tuple[str, ...], list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[tuple(entry.at[name] for name in by)].append(entry)
    cells = [(dict(zip(by, place, strict=True)), members, _joined(members, kind)) for place, members in groups.items()]
    best = _best([(_work(members), joined.value) for _, members, joined in cells], kind)
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


def _joined(members: Sequence[Entry], kind: FigureKind) -> _Joined:
    """Return the figure of the jobs of one cell."""
    measured = [one for one in members if one.value is not None]
    if not measured:
        return _Joined(missing=members[0].missing)
    if len(measured) == 1:
        (one,) = measured
        return _Joined(one.value, one.low, one.high)
    questions, answers = {one.work for one in measured}, {one.answers for one in measured}
    if len(questions) > 1 or len(answers) > 1:
        what = "of different work" if len(questions) > 1 else "with different settings"
        return _Joined(missing=f"{len(measured)} jobs {what} meet here; add an axis to `by`: {', '.join(AXES)}")
    if kind.name in PEAKS:  # the peak of several jobs is the largest of theirs, as the peak of a job is the largest of its repeats
        return _Joined(max(one.value for one in measured if one.value is not None))
    repeats = [value for one in measured for value in one.repeats]
    if not all(one.repeats for one in measured):
        return _Joined(missing=f"{len(measured)} jobs meet here, and this figure cannot be computed for several jobs together")
    interval = median_interval_of_repeats(repeats)
    return _Joined(float(np.median(repeats)), interval.low if interval else None, interval.high if interval else None)


def _best(values: Sequence[tuple[Work, float | None]], kind: FigureKind) -> dict[Work, float]:
    """Return the best value of each work whose content is known. Values that are not above 0 have no ratio."""
    by_work: dict[Work, list[float]] = defaultdict(list)
    for work, value in values:
        if value is not None and value > 0 and work.may_be_ranked():
            by_work[work].append(value)
    return {work: min(known) if kind.better == "lower" else max(known) for work, known in by_work.items()}
