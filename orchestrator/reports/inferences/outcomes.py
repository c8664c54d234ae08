"""Makes the outcome of an inference from the summary of its samples, so that verdicts, trends and lists see figures alone.

An inference sends a summary, and workers of all versions do. So its figures are computed here, from the same numbers as its cells in the
CSV. Figures that a sampler took beside the measurement are in the summary, and are passed on as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from orchestrator.reports.runtimes import whole_number
from shared.distributions import Distribution, Interval
from shared.figures import Figure, Outcome
from shared.kinds.inference import Inference
from shared.measurements import RepeatFacts, Summary
from shared.protocol.messages import Result
from shared.stats import interval_for_precision, median_interval_of_repeats

HEADLINE = Inference.headline
LOAD = "load_ms"
PEAKS = ("inference_peak_mb", "load_peak_mb")
RATES = ("throughput_per_s", "samples_per_s")
FIGURES = Inference.figures
# Each repeat has these figures, so that a test can compare two jobs by them.
COMPARED = (HEADLINE, LOAD, *PEAKS, *RATES)
_NO_TIME = "the clock is too coarse to see any time pass"


def outcome_of(result: Result) -> Outcome | None:
    """Return the figures of an inference, or None if the result has no summary."""
    summary = result.summary
    if summary is None:
        return None
    batch = whole_number(result.runtime.get("batch_size")) or 1
    figures = {figure.name: figure for figure in summary_figures(summary, batch)}
    return Outcome(headline=HEADLINE, figures=tuple(figures.values()))


def summary_figures(summary: Summary, batch: int) -> Iterator[Figure]:
    """Yield the figures of a summary.

    Args:
        batch: the samples of one inference.
    """
    load, inference = summary.load, summary.inference
    yield _figure(HEADLINE, inference.median, _each(summary, lambda one: one.median_ms), inference.median_ci, n=inference.n)
    yield _figure(LOAD, load.median, _each(summary, lambda one: one.load_ms), load.median_ci, n=load.n)
    for name, value, of_repeat in (
        ("inference_peak_mb", summary.inference_peak_mb, lambda one: one.inference_peak_mb),
        ("load_peak_mb", summary.load_peak_mb, lambda one: one.load_peak_mb),
    ):
        repeats = _each(summary, of_repeat)
        yield _figure(name, value, repeats, n=len(summary.repeats), missing="the kernel did not report it")
    for name, field in (("inference_p90_ms", "p90"), ("inference_p99_ms", "p99")):
        yield _figure(name, getattr(inference, field), n=inference.n, missing=_why(inference, field))
    calls = _each(summary, lambda one: one.throughput_per_s)
    for name, times in (("throughput_per_s", 1), ("samples_per_s", batch)):
        value = None if summary.throughput_per_s is None else summary.throughput_per_s * times
        repeats = tuple(rate * times for rate in calls)
        interval = rate_interval(repeats, stops=bool(summary.stopped_because)) if repeats else None
        yield _figure(name, value, repeats, interval, n=inference.n, missing=_NO_TIME)
    yield _figure("cpu_percent", summary.cpu_percent, _each(summary, lambda one: one.cpu_percent), n=len(summary.repeats))
    yield from summary.figures


def rate_interval(rates: tuple[float, ...], *, stops: bool) -> Interval | None:
    """Return the interval of a rate over the repeats.

    Args:
        stops: whether a stop rule chose the number of repeats.
    """
    return interval_for_precision(rates) if stops else median_interval_of_repeats(rates)


def _each(summary: Summary, of_repeat: Callable[[RepeatFacts], float | None]) -> tuple[float, ...]:
    """Return the figure of each repeat, in order. The result is empty if a repeat lacks it: a missing value is never left out."""
    values = [of_repeat(repeat) for repeat in summary.repeats]
    return tuple(value for value in values if value is not None) if None not in values else ()


def _why(distribution: Distribution, name: str) -> str:
    return distribution.missing.get(name, "the sample is too small for it")


def _figure(
    name: str,
    value: float | None,
    repeats: tuple[float, ...] = (),
    interval: Interval | None = None,
    *,
    n: int,
    missing: str = "it was not measured",
) -> Figure:
    why = missing if value is None else ""
    kind = FIGURES[name]
    # `model_construct` checks nothing, and takes a tenth of the time: the values come from a summary that was checked.
    return Figure.model_construct(
        name=name, unit=kind.unit, better=kind.better, value=value, interval=interval, n=n, missing=why, repeats=repeats
    )
