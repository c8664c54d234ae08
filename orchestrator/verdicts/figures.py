"""Lists the figures that can be compared, with the way to read each of them from the summary of a job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from shared.distributions import Interval
from shared.errors import FieldError, InvalidInput, nearest
from shared.measurements import RepeatFacts, Summary


@dataclass(frozen=True, slots=True)
class FigureKind:
    """Describes a figure of a job.

    Attributes:
        of_repeat: the figure of one repeat; None if a single repeat has no such figure.
        value: the figure of the whole job, as in the CSV.
        interval: the 95 % interval of the whole job's figure, if there is one.
        worse: the word for a worse value, in sentences such as "4 % slower".
    """

    name: str
    unit: str
    meaning: str
    value: Callable[[Summary], float | None]
    better: Literal["lower", "higher"] = "lower"
    worse: str = "slower"
    interval: Callable[[Summary], Interval | None] = lambda _summary: None
    of_repeat: Callable[[RepeatFacts], float | None] | None = None


INFERENCE = "inference_ms"
FIGURES: dict[str, FigureKind] = {
    kind.name: kind
    for kind in (
        FigureKind(
            INFERENCE,
            "ms",
            "median of the timed inferences",
            lambda summary: summary.inference.median,
            interval=lambda summary: summary.inference.median_ci,
            of_repeat=lambda repeat: repeat.median_ms,
        ),
        FigureKind(
            "load_ms",
            "ms",
            "loading the model; the first load of a job may be cold",
            lambda summary: summary.load.median,
            interval=lambda summary: summary.load.median_ci,
            of_repeat=lambda repeat: repeat.load_ms,
        ),
        FigureKind(
            "inference_peak_mb",
            "MB",
            "peak memory of the measured process while it infers, MB of 2^20 bytes",
            lambda summary: summary.inference_peak_mb,
            worse="larger",
            of_repeat=lambda repeat: repeat.inference_peak_mb,
        ),
        FigureKind(
            "load_peak_mb",
            "MB",
            "peak memory of the measured process while it loads, MB of 2^20 bytes",
            lambda summary: summary.load_peak_mb,
            worse="larger",
            of_repeat=lambda repeat: repeat.load_peak_mb,
        ),
        FigureKind("inference_p90_ms", "ms", "90th percentile of all inferences", lambda summary: summary.inference.p90),
        FigureKind("inference_p99_ms", "ms", "99th percentile of all inferences", lambda summary: summary.inference.p99),
        FigureKind(
            "throughput_per_s",
            "1/s",
            "inferences a second over the timed phase",
            lambda summary: summary.throughput_per_s,
            better="higher",
        ),
    )
}
COMPARED = tuple(name for name, kind in FIGURES.items() if kind.of_repeat is not None)  # a test needs one value per repeat


def figure_kind(name: str) -> FigureKind:
    """Return the figure with this name.

    Raises:
        InvalidInput: there is none.
    """
    return FIGURES[_known(name, list(FIGURES))]


def compared_figure(name: str) -> FigureKind:
    """Return a figure that two campaigns can be compared by.

    Raises:
        InvalidInput: there is none with this name, or a single repeat has no such figure.
    """
    return FIGURES[_known(name, list(COMPARED))]


def _known(name: str, known: list[str]) -> str:
    if name in known:
        return name
    if name in FIGURES:
        message = f"{name} has no value for each repeat, so no test can compare it; use one of {', '.join(known)}"
    else:
        message = f"there is no figure {name!r:.80}: {nearest(name, known)}"
    raise InvalidInput(f"metric: {message}", fields=[FieldError("query.metric", message)])


def repeat_values(kind: FigureKind, summary: Summary) -> tuple[float, ...]:
    """Return the figure of each repeat, in order. The result is empty if a repeat lacks it: a missing value is never left out."""
    if kind.of_repeat is None:
        return ()
    values = [kind.of_repeat(repeat) for repeat in summary.repeats]
    return tuple(value for value in values if value is not None) if None not in values else ()
