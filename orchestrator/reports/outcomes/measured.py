"""Defines what the page needs of one job whose result is an outcome."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.reports.beside import EnergyOf, energy_of
from orchestrator.reports.bundle import JobRecord
from orchestrator.reports.outcomes.work import asked_work
from orchestrator.reports.parameters import job_parameters, written
from orchestrator.reports.runtimes import warnings_of
from shared.capabilities import LABELS
from shared.figures import Figure
from shared.jobs import JobStatus


@dataclass(frozen=True, slots=True)
class Measured:
    """Holds the figures of one job, and what makes them mean less.

    Without `figures` it is small, so that 100 000 of them fit in memory.

    Attributes:
        name: what lists call the job.
        where: the device's name and the label of the compute unit.
        work: what it measured. Jobs with equal works are ranked.
        headline: the figure that stands for the job; None if it was not measured.
        figures: all figures, without their repeats.
        methods: how the intervals were computed.
        energy: what was sampled beside it; None if the job was not measured.
        cannot_win: why the job is never named the best, such as `client-bound`; empty if it may be.
    """

    job_id: str
    status: JobStatus
    name: str
    where: str
    work: Hashable
    parameters: str = ""
    headline: Figure | None = None
    figures: tuple[Figure, ...] = ()
    methods: tuple[str, ...] = ()
    noise: str = ""
    noise_reasons: tuple[str, ...] = ()
    steadiness: str = ""
    warnings: tuple[str, ...] = ()
    error: str = ""
    energy: EnergyOf | None = None
    cannot_win: str = ""


def measured(job: JobRecord, labels: Mapping[str, str], varied: Sequence[str]) -> Measured:
    """Return what the page needs of a job; see `Page.add` for the arguments."""
    result = job.result
    outcome = result.outcome if result is not None and job.status is JobStatus.COMPLETE else None
    capability = (result.capability if result is not None else job.capability) or job.compute_unit
    device = labels.get(result.worker_id, result.device.name) if result is not None else labels.get(job.worker_id or "", "no device")
    work = asked_work(job)
    parameters = {} if job.unreadable else job_parameters(job.workload.model_dump(mode="json"), varied)
    figures = tuple(one.model_copy(update={"repeats": ()}) for one in outcome.figures) if outcome else ()
    return Measured(
        job_id=job.job_id,
        status=job.status,
        name=job.name,
        where=f"{device} · {LABELS.get(capability, capability)}",
        work=work if work.may_be_ranked() else job.job_id,
        parameters=written(parameters),
        headline=next((one for one in figures if outcome and one.name == outcome.headline and one.value is not None), None),
        figures=figures,
        methods=tuple(sorted({sys.intern(one.interval.method) for one in figures if one.interval})),
        noise=result.noise.grade if result is not None and result.noise else "",
        noise_reasons=tuple(result.noise.reasons) if result is not None and result.noise else (),
        warnings=tuple(warnings_of(result.runtime)) if result is not None else (),
        error=(result.error if result is not None else "") or job.error,
        energy=energy_of(result) if outcome and result is not None else None,
    )
