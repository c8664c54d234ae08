"""Defines what the report needs of one job: its figures, where they were measured, and what makes them mean less."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.reports.beside import EnergyOf, energy_of
from orchestrator.reports.bundle import JobRecord
from orchestrator.reports.inferences.precision import REACHED, precision_said
from orchestrator.reports.inferences.same_samples import samples_of
from orchestrator.reports.inferences.same_work import ANSWERS, BOUND, Work, work_of
from orchestrator.reports.money import Price, price_of
from orchestrator.reports.parameters import assumed_dimensions, job_parameters, written
from orchestrator.reports.runtimes import provider_of, threads_of, warnings_of
from shared.capabilities import LABELS
from shared.distributions import Interval
from shared.engine_options import EngineOptions
from shared.jobs import JobStatus
from shared.measurements import Summary
from shared.stats import interval_for_precision, median_interval_of_repeats
from shared.workloads import inference_of

Pairs = tuple[tuple[str, str], ...]
_OPTIONS = frozenset(EngineOptions.model_fields)


@dataclass(frozen=True, slots=True)
class Figure:
    """Holds what the report needs of one job. It is small, so that 100 000 of them fit in memory. Times are ms, memory is MB.

    Attributes:
        device: the device's name, extended if another device has the same name.
        unit: the label of the compute unit that it ran on.
        answers: settings that may differ between jobs of the same work: threads, provider, optimisation level.
        settings: other values that the recipe varied, such as the number of inferences.
        parameters: the values that distinguish the job from others of its campaign, as in the CSV.
        swept_inputs: the parameters that change the inputs.
        swept_answers: the names of the answers that the recipe varied.
        provider: the provider that most of the model's nodes ran on; empty if not known.
        provider_share: the share of the nodes that ran there; None if not known.
        stopped: why the repeats of a job with a stop rule ended.
        samples: the work without its batch: jobs with equal samples may be compared by samples per second.
        cell: the options that the recipe varied, as (name, text): the job's place in a sweep.
        throughput: the calls per second, one after the other.
        rate_low, rate_high: the 95 % interval of `samples_per_s`, over the repeats. None in results of earlier versions.
        price: what an hour of its device costs; None if not known.
        energy: the energy of an inference, and why columns of telemetry are empty; None if the job was not measured.
    """

    job_id: str
    status: JobStatus
    name: str
    work: Work
    samples: Work
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
    swept_inputs: str = ""
    swept_answers: frozenset[str] = frozenset()
    assumed: str = ""
    warnings: tuple[str, ...] = ()
    stopped: str = ""
    error: str = ""
    cell: Pairs = ()
    rate_low: float | None = None
    rate_high: float | None = None
    price: Price | None = None
    energy: EnergyOf | None = None

    @property
    def samples_per_s(self) -> float | None:
        """Return the calls per second times the batch. A model without a batch processes one sample in each call."""
        return None if self.throughput is None else self.throughput * (self.work.batch or 1)

    @property
    def cost_per_1000(self) -> float | None:
        """Return the cost of 1 000 samples at this rate, in the currency of the price, or None without a price."""
        return None if self.price is None else self.price.of_1000(self.samples_per_s)

    @property
    def where(self) -> str:
        """Return device and compute unit. Jobs with equal ones have the same colour in the picture."""
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
    capability = (result.capability if result is not None else job.capability) or job.compute_unit
    parameters = job_parameters(job.workload.model_dump(mode="json"), varied)
    share = runtime.get("provider_share")
    work = work_of(job)
    rate = _rate_interval(summary, stops=job.workload.stop is not None) if summary else None
    return Figure(
        job_id=job.job_id,
        status=job.status,
        name=job.workload.model.name,
        work=work,
        device=_device(job, labels or {}),
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
        swept_inputs=written({name: text for name, text in parameters.items() if name.partition(".")[0] in BOUND}),
        swept_answers=frozenset("provider" if name == "providers" else name for name in parameters if name in ANSWERS),
        assumed=written(assumed_dimensions(runtime)),
        warnings=tuple(warnings_of(runtime)),
        stopped=precision_said(summary, job.workload.stop) if summary else "",
        error=(result.error if result is not None else "") or job.error,
        samples=samples_of(job, work),
        cell=tuple((name, text) for name, text in parameters.items() if name.partition(".")[0] in _OPTIONS),
        rate_low=rate.low * (work.batch or 1) if rate else None,
        rate_high=rate.high * (work.batch or 1) if rate else None,
        price=price_of(result.device) if result is not None else None,
        energy=energy_of(result) if summary is not None and result is not None else None,
    )


def _device(job: JobRecord, labels: Mapping[str, str]) -> str:
    """Return the device that had the job. A job that was lost has no result, but its worker may be known from other jobs."""
    if job.result is not None:
        return labels.get(job.result.worker_id, job.result.device.name)
    return labels.get(job.worker_id or "", "no device")


def _rate_interval(summary: Summary, *, stops: bool) -> Interval | None:
    """Return the interval of the calls per second over the repeats, or None if a repeat does not say them."""
    rates = [repeat.throughput_per_s for repeat in summary.repeats]
    known = [rate for rate in rates if rate is not None]
    if len(known) < len(rates):
        return None
    return interval_for_precision(known) if stops else median_interval_of_repeats(known)


def _answers(job: JobRecord) -> Pairs:
    """Return the settings that may differ between jobs of the same work: as the runtime reports them, else as requested."""
    runtime = job.result.runtime if job.result is not None else {}
    options = inference_of(job.workload).options
    threads = runtime.get("threads")
    between = threads.get("inter_op") if isinstance(threads, dict) else options.inter_threads
    found = {
        "threads": threads_of(runtime) or options.threads,
        "inter_threads": between,
        "provider": provider_of(runtime) or ("+".join(options.providers) if options.providers else None),
        "graph": runtime.get("graph_level") or options.graph,
    }
    return tuple((name, str(value)) for name, value in found.items() if value is not None)
