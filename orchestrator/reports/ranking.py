"""Ranks the jobs of each work by speed, which is the content of the report's first page.

Only jobs that did the same work are compared (see `same_work`). If the intervals of two jobs overlap, the report says that they cannot be
distinguished, and names no winner.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.reports.bundle import JobRecord
from orchestrator.reports.parameters import assumed_dimensions, job_parameters, written
from orchestrator.reports.precision import REACHED, precision_said
from orchestrator.reports.rows import provider_of, threads_of, warnings_of
from orchestrator.reports.same_work import ANSWERS, BOUND, UNKNOWN_CONTENT, Work, titles, work_of
from shared.capabilities import LABELS
from shared.jobs import JobStatus

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """Holds what the report needs of one job. It is small, so that 100 000 of them fit in memory. Times are ms, memory is MB.

    Attributes:
        device: the device's name, extended if another device has the same name.
        unit: the label of the compute unit that it ran on.
        answers: settings that may differ between jobs of the same work: threads, provider, optimisation level.
        settings: other values that the recipe varied, such as the number of inferences.
        parameters: the values that distinguish the job from others of its campaign, as in the CSV.
        provider: the provider that most of the model's nodes ran on; empty if not known.
        provider_share: the share of the nodes that ran there; None if not known.
        stopped: why the repeats of a job with a stop rule ended.
    """

    job_id: str
    status: JobStatus
    name: str
    work: Work
    device: str
    unit: str
    answers: Pairs = ()
    settings: Pairs = ()
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
    provider: str = ""
    provider_share: float | None = None
    parameters: str = ""
    assumed: str = ""
    warnings: tuple[str, ...] = ()
    stopped: str = ""
    error: str = ""

    @property
    def kind(self) -> str:
        """Return device and compute unit. Jobs of one kind have the same colour in the picture."""
        return f"{self.device} · {self.unit}"

    @property
    def missed_precision(self) -> bool:
        return bool(self.stopped) and not self.stopped.startswith(REACHED)


def figure(job: JobRecord, labels: Mapping[str, str] | None = None, varied: Sequence[str] = ()) -> Figure:
    """Return the figure of one job.

    Args:
        labels: the name of each device, by its worker's id. A device that is not listed keeps its own name.
        varied: the paths into a job at which the recipe's jobs differ (see `parameters`).
    """
    result = job.result
    runtime = result.runtime if result is not None else {}
    summary = result.summary if result is not None and job.status is JobStatus.COMPLETE else None
    inference = summary.inference if summary else None
    interval = inference.median_ci if inference else None
    capability = result.capability if result is not None and result.capability else job.compute_unit
    parameters = job_parameters(job.workload.model_dump(mode="json"), varied)
    share = runtime.get("provider_share")
    return Figure(
        job_id=job.job_id,
        status=job.status,
        name=job.workload.model.name,
        work=work_of(job),
        device=(labels or {}).get(result.worker_id, result.device.name) if result is not None else "no device",
        unit=LABELS.get(capability, capability),
        answers=_answers(job),
        settings=tuple((name, text) for name, text in parameters.items() if name.partition(".")[0] not in ANSWERS | BOUND),
        median=inference.median if inference else None,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        p90=inference.p90 if inference else None,
        p99=inference.p99 if inference else None,
        load=summary.load.median if summary else None,
        peak_mb=summary.inference_peak_mb if summary else None,
        throughput=summary.throughput_per_s if summary else None,
        inferences=inference.n if inference else 0,
        repeats=len(summary.repeats) if summary else 0,
        outliers=inference.outliers if inference else 0,
        steadiness=summary.steadiness if summary else "",
        noise=result.noise.grade if result is not None and result.noise else "",
        noise_reasons=tuple(result.noise.reasons) if result is not None and result.noise else (),
        interval_method=interval.method if interval else "",
        memory_method=summary.memory_method if summary else "",
        provider=provider_of(runtime) or "",
        provider_share=float(share) if isinstance(share, int | float) else None,
        parameters=written(parameters),
        assumed=written(assumed_dimensions(runtime)),
        warnings=tuple(warnings_of(runtime)),
        stopped=precision_said(summary, job.workload.stop) if summary else "",
        error=(result.error if result is not None else "") or job.error,
    )


def _answers(job: JobRecord) -> Pairs:
    """Return the settings that may differ between jobs of the same work: as the runtime reports them, else as requested."""
    runtime = job.result.runtime if job.result is not None else {}
    options = job.workload.options
    threads = runtime.get("threads")
    between = threads.get("inter_op") if isinstance(threads, dict) else options.inter_threads
    found = {
        "threads": threads_of(runtime) or options.threads,
        "inter_threads": between,
        "provider": provider_of(runtime) or ("+".join(options.providers) if options.providers else None),
        "graph": runtime.get("graph_level") or options.graph,
    }
    return tuple((name, str(value)) for name, value in found.items() if value is not None)


@dataclass(frozen=True)
class Ranking:
    """Holds the jobs of one work, fastest first, and the verdict on the fastest.

    Attributes:
        work: the title of the work.
        places: the name of each figure, in the same order: device, compute unit, and the settings that differ.
    """

    work: str
    figures: list[Figure]
    places: list[str]
    verdict: str


def rank(figures: Sequence[Figure]) -> list[Ranking]:
    """Return the measured jobs of each work, sorted by median. Works come in the order in which they first appear.

    If the model's content is not known, the jobs keep the order of the campaign, and they are not ranked.
    """
    groups: dict[Work, list[Figure]] = defaultdict(list)
    for one in figures:
        if one.median is not None:
            groups[one.work].append(one)
    called = titles({work: ", ".join(dict.fromkeys(one.name for one in members)) for work, members in groups.items()})
    rankings = []
    for work, members in groups.items():
        if work.may_be_ranked():
            members = sorted(members, key=lambda one: (one.median or 0.0, one.job_id))
        places = _places(members)
        verdict = _verdict(members, places) if work.may_be_ranked() else UNKNOWN_CONTENT
        rankings.append(Ranking(called[work], members, places, verdict))
    return rankings


def _places(members: Sequence[Figure]) -> list[str]:
    """Return a name for each of these jobs: device and compute unit, and the settings that differ between jobs with the same two."""
    names = {one.name for one in members}
    alike: dict[str, list[Figure]] = defaultdict(list)
    for one in members:
        alike[one.kind].append(one)
    differing = {kind: _differing(same) for kind, same in alike.items()}
    return [
        " · ".join(
            [
                one.kind,
                *([one.name] if len(names) > 1 else []),
                *(f"{name} {text}" for name, text in (*one.answers, *one.settings) if name in differing[one.kind]),
            ]
        )
        for one in members
    ]


def _differing(members: Sequence[Figure]) -> set[str]:
    """Return the names of the answers and settings that differ between these jobs."""
    facts = [dict((*one.answers, *one.settings)) for one in members]
    names = {name for fact in facts for name in fact}
    return {name for name in names if len({fact.get(name) for fact in facts}) > 1}


def _competitor(one: Figure) -> tuple[str, Pairs]:
    """Return what a job stands for in a comparison."""
    return one.kind, one.answers


def _verdict(ordered: Sequence[Figure], places: Sequence[str]) -> str:
    first, place = ordered[0], places[0]
    # A device and runtime that was measured several times is as good as its slowest job shows it, not its luckiest. Jobs that differ in
    # the model's name or in the number of inferences alone are such: what lies between them is noise.
    same = [one for one in ordered if _competitor(one) == _competitor(first)]
    others = [(one, where) for one, where in zip(ordered, places, strict=True) if _competitor(one) != _competitor(first)]
    if not others:
        return f"only {place if set(places) == {place} else first.kind} measured it"
    unknown = [where for one, where in zip(ordered, places, strict=True) if one.low is None or one.high is None]
    if unknown:
        return f"{place} has the lowest median, but {unknown[0]} has no interval (it needs 2 repeats): no winner is named"
    high = max(one.high or 0.0 for one in same)
    level = [where for one, where in others if (one.low or 0.0) <= high]
    if level:
        names = ", ".join(dict.fromkeys(level))
        return f"{place} has the lowest median, but cannot be told apart from {names}: their intervals overlap"
    second, where = others[0]
    ratio = (second.median or 0.0) / first.median if first.median else 0.0
    return f"{place} is the fastest, {ratio:.2f}× as fast as {where}"
