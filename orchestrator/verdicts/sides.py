"""Makes the side of a pair from a job: its identity, its facts and one value for each repeat. It is small, unlike the job's result."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.reports.bundle import JobRecord
from orchestrator.reports.parameters import job_parameters, written
from orchestrator.reports.same_work import Work, work_of
from orchestrator.verdicts.facts import MUST_BE_EQUAL, WORTH_A_WARNING, facts_of
from orchestrator.verdicts.figures import FigureKind, repeat_values
from shared.capabilities import LABELS
from shared.jobs import JobStatus
from shared.workloads import inference_of

Asked = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Side:
    """Holds what a comparison needs of one job.

    Attributes:
        title: the model's name, with the values that the recipe varied.
        device_id: the id of the worker that ran it; empty if none did.
        device: the device's label; empty if no device measured it.
        unit: the label of the compute unit.
        work: what it measured, as far as it is known.
        asked: what it was asked for: model name, compute unit and options.
        facts: what must be equal, by name.
        more_facts: what is worth a warning, by name.
        values: the figure of each repeat; empty if it is missing.
        problem: why it has no values, as the end of a sentence such as "BASE failed: …"; else empty.
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
    facts: dict[str, str | None]
    more_facts: dict[str, str | None]
    values: tuple[float, ...] = ()
    problem: str = ""
    noise: str = ""
    noise_reasons: tuple[str, ...] = ()
    steadiness: str = ""


def side_of(job: JobRecord, kind: FigureKind, varied: Sequence[str] = (), labels: Mapping[str, str] | None = None) -> Side:
    """Return the side that a job is.

    Args:
        labels: the name of each device, by its worker's id. A device that is not listed keeps its own name.
        varied: the paths into a job at which the jobs of its recipe differ (see `reports.parameters`).
    """
    result, work = job.result, work_of(job)
    options = inference_of(job.workload).options.model_dump(mode="json", exclude_none=True)
    parameters = written(job_parameters(job.workload.model_dump(mode="json"), varied)) if varied and not job.unreadable else ""
    capability = result.capability if result is not None else job.compute_unit
    summary = result.summary if result is not None and job.status is JobStatus.COMPLETE else None
    values = repeat_values(kind, summary) if summary is not None else ()
    return Side(
        job_id=job.job_id,
        status=job.status,
        title=", ".join(filter(None, (job.workload.model.name, parameters))),
        device_id=(result.worker_id if result is not None else job.worker_id) or "",
        device=(labels or {}).get(result.worker_id, result.device.name) if result is not None else "",
        unit=LABELS.get(capability, capability),
        work=work,
        asked=(job.workload.model.name, LABELS.get(job.compute_unit, job.compute_unit), json.dumps(options, sort_keys=True)),
        facts=facts_of(job, work, MUST_BE_EQUAL),
        more_facts=facts_of(job, work, WORTH_A_WARNING),
        values=values if values and min(values) > 0 else (),
        problem=_problem(job, kind, values, measured=summary is not None),
        noise=result.noise.grade if result is not None and result.noise else "",
        noise_reasons=tuple(result.noise.reasons) if result is not None and result.noise else (),
        steadiness=summary.steadiness if summary else "",
    )


def _problem(job: JobRecord, kind: FigureKind, values: Sequence[float], *, measured: bool) -> str:
    if job.status is not JobStatus.COMPLETE:
        error = (job.result.error if job.result is not None else "") or job.error
        return _ENDED.get(job.status, f"is {job.status.value}") + (f": {error}" if error else "")
    if not measured:
        return "has no result that this version can read"
    if not values:
        return f"has no {kind.name}"
    return "" if min(values) > 0 else f"has a repeat with {kind.name} 0, which has no ratio"


_ENDED = {JobStatus.FAILED: "failed", JobStatus.CANCELLED: "was cancelled"}
