"""Which device and runtime is fastest, per model: the content of page one, as data.

Only jobs that did the same work compare: the same model, batch size and input shapes. Where two intervals overlap the
report says that the two cannot be told apart, and names no winner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.reports.bundle import JobRecord
from orchestrator.reports.rows import Cell
from shared.jobs import JobStatus

_SAME_WORK = ("options.batch_size", "options.shapes")  # these make another question, not another answer


@dataclass(frozen=True, slots=True)
class Figure:
    """What page one needs of one job: small, so that a campaign of 100 000 fits in memory. Milliseconds and MB."""

    job_id: str
    status: JobStatus
    work: str  # model, and what else makes the work another one
    where: str  # device and runtime, and the options that were swept
    kind: str  # device and compute unit: gives the colour in the picture
    median: float | None = None
    low: float | None = None
    high: float | None = None
    p90: float | None = None
    p99: float | None = None
    load: float | None = None
    peak_mb: float | None = None
    throughput: float | None = None
    inferences: int = 0
    repeats: int = 0
    outliers: int = 0
    steadiness: str = ""
    noise: str = ""
    noise_reasons: tuple[str, ...] = ()
    interval_method: str = ""
    memory_method: str = ""
    error: str = ""


def figure(job: JobRecord, swept: Sequence[str] = ()) -> Figure:
    """The figure of one job.

    Args:
        swept: dotted paths that the recipe's `sweep` varies; they are told apart in the labels.
    """
    row = job.row or {}
    workload = job.workload.model_dump(mode="json")
    unit = str(row.get("ComputeUnits") or job.compute_unit)
    device = str(row.get("DeviceName") or "no device")
    options = {path: _at(workload, path) for path in swept}
    summary = job.result.summary if job.result is not None and job.status is JobStatus.COMPLETE else None
    noise = job.result.noise if job.result is not None else None
    return Figure(
        job_id=job.job_id,
        status=job.status,
        work=_joined(job.workload.model.name, {path: options[path] for path in options if path in _SAME_WORK}),
        where=_joined(f"{device} · {unit}", {path: options[path] for path in options if path not in _SAME_WORK}),
        kind=f"{device} · {unit}",
        median=_number(row.get("InferenceMsMedian")),
        low=_number(row.get("InferenceMsMedianCiLow")),
        high=_number(row.get("InferenceMsMedianCiHigh")),
        p90=_number(row.get("InferenceMsP90")),
        p99=_number(row.get("InferenceMsP99")),
        load=_number(row.get("LoadMsMedian")),
        peak_mb=_number(row.get("PeakInferenceRamUsage")),
        throughput=_number(row.get("ThroughputPerS")),
        inferences=int(_number(row.get("Inferences")) or 0),
        repeats=int(_number(row.get("Repeats")) or 0),
        outliers=int(_number(row.get("Outliers")) or 0),
        steadiness=summary.steadiness if summary else "",
        noise=str(row.get("NoiseGrade") or ""),
        noise_reasons=tuple(noise.reasons) if noise else (),
        interval_method=summary.inference.median_ci.method if summary and summary.inference.median_ci else "",
        memory_method=summary.memory_method if summary else "",
        error=str(row.get("Error") or job.error or ""),
    )


def _at(workload: dict[str, Any], path: str) -> Any:
    """A value by its dotted path; None where the workload has no such place (a sweep over `model` or `on`)."""
    here: Any = workload
    for part in path.split("."):
        here = here.get(part) if isinstance(here, dict) else None
    return here


def _joined(name: str, options: dict[str, Any]) -> str:
    said = [f"{path.rsplit('.', 1)[-1]} {value}" for path, value in options.items() if isinstance(value, str | int | float | list)]
    return " · ".join([name, *said])


def _number(cell: Cell) -> float | None:
    return float(cell) if isinstance(cell, int | float) else None


@dataclass(frozen=True)
class Ranking:
    """The jobs of one work, fastest first, and what may be said of the first."""

    work: str
    figures: list[Figure]
    verdict: str


def rank(figures: Sequence[Figure]) -> list[Ranking]:
    """Measured jobs by work, in the order in which each work first appears; within it by median."""
    groups: dict[str, list[Figure]] = {}
    for one in figures:
        if one.median is not None:
            groups.setdefault(one.work, []).append(one)
    rankings = []
    for work, members in groups.items():
        ordered = sorted(members, key=lambda one: (one.median or 0.0, one.job_id))
        rankings.append(Ranking(work, ordered, _verdict(ordered)))
    return rankings


def _verdict(ordered: list[Figure]) -> str:
    first = ordered[0]
    others = [one for one in ordered[1:] if one.where != first.where]
    if not others:
        return f"only {first.where} measured it"
    unknown = [one for one in (first, *others) if one.low is None or one.high is None]
    if unknown:
        return f"{first.where} has the lowest median, but {unknown[0].where} has no interval (it needs 2 repeats): no winner is named"
    level = [one for one in others if (one.low or 0.0) <= (first.high or 0.0)]
    if level:
        names = ", ".join(dict.fromkeys(one.where for one in level))
        return f"{first.where} has the lowest median, but cannot be told apart from {names}: their intervals overlap"
    ratio = (others[0].median or 0.0) / first.median if first.median else 0.0
    return f"{first.where} is the fastest, {ratio:.2f}× as fast as {others[0].where}"
