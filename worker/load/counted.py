"""Makes figures of what a service counts itself, from before and after each repeat. Everything here is pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median

from shared.figures import Figure, Outcome
from shared.kinds.load import Load
from shared.stats import median_interval_of_repeats

Counted = Mapping[str, float]
COMPUTE = ("compute_input_ns", "compute_infer_ns", "compute_output_ns")
MISSING = "the service did not tell what it has counted before and after the load"


def _of_each(more: Counted, *names: str) -> float | None:
    """Return the milliseconds of each request that succeeded, warm-up included."""
    return sum(more[name] for name in names) / more["success_count"] / 1e6 if more["success_count"] > 0 else None


# The figures of each type of service, computed from how much its counters have grown in a repeat.
OF_COUNTERS: Mapping[str, Mapping[str, Callable[[Counted], float | None]]] = {
    "triton": {
        "server_queue_ms": lambda more: _of_each(more, "queue_ns"),
        "server_compute_ms": lambda more: _of_each(more, *COMPUTE),
        "server_requests_per_execution": lambda more: more["inferences"] / more["executions"] if more["executions"] > 0 else None,
    },
}


def with_counted(outcome: Outcome, service_type: str, repeats: Sequence[Sequence[Counted]]) -> Outcome:
    """Return the figures of a job with those of the service's own counters.

    Args:
        repeats: for each repeat, what was counted before and after it. There is less if the service did not tell.
    """
    figures = [_figure(name, compute, repeats) for name, compute in OF_COUNTERS.get(service_type, {}).items()]
    return outcome.model_copy(update={"figures": (*outcome.figures, *figures)}) if figures else outcome


def _figure(name: str, compute: Callable[[Counted], float | None], repeats: Sequence[Sequence[Counted]]) -> Figure:
    grown = [{key: after[key] - before.get(key, 0.0) for key in after} for before, after in (pair for pair in repeats if len(pair) == 2)]
    each = [value for more in grown if (value := compute(more)) is not None]
    kind = Load.figures[name]
    if not each:
        return Figure.of(name, kind, missing=MISSING)
    return Figure.of(name, kind, median(each), interval=median_interval_of_repeats(each), n=len(each), repeats=tuple(each))
