"""Makes the figures of a job from the records of its requests. Everything here is pure: the same records give the same figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from shared.figures import Figure, FigureKind, Outcome
from shared.kinds.load import Load
from shared.percentiles import PERCENTILE_FLOORS
from shared.request_records import FAILURES
from shared.stats import describe, median_interval_of_repeats, percentile
from worker.load.ceiling import is_client_bound
from worker.load.operations import rate_of
from worker.load.phases import Measured, bytes_per_s, duration_s, latencies_ms, rate, rate_achieved, rate_asked

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shared.distributions import Distribution

Phases = Sequence[Measured]
NO_SCHEDULE = "a closed loop has no schedule"
# Figures that a type of service has besides those of every load: which phase they are about (empty: all), and how they are computed.
OF_SERVICES: Mapping[str, Mapping[str, tuple[str, Callable[[Phases], float | None]]]] = {
    "redis": {"ops_per_second": ("", rate), "bytes_per_second": ("", bytes_per_s)},
    "postgres": {
        "insert_tps": ("insert", rate),
        "select_qps": ("select", rate),
        "insert_duration": ("insert", duration_s),
        "select_duration": ("select", duration_s),
        "total_duration": ("", duration_s),
    },
    "minio": {
        "put_ops_per_second": ("", rate_of(0)),
        "get_ops_per_second": ("", rate_of(1)),
        "put_bytes_per_second": ("", rate_of(0)),
        "get_bytes_per_second": ("", rate_of(1)),
    },
}


def outcome_of(
    repeats: Sequence[Phases],
    *,
    service_type: str,
    operations: Sequence[str],
    concurrency: int,
    ceiling_per_s: float | None,
    no_ceiling: str = "",
    units: Mapping[str, float] | None = None,
    detail: Mapping[str, Any] | None = None,
) -> Outcome:
    """Return the figures of a job.

    Args:
        repeats: The phases of each repeat.
        concurrency: How many requests all clients together keep in flight.
        no_ceiling: Why there is no `ceiling_per_s`.
        units: What one request stands for in a figure of the service; see `shared.services.base.ServiceKind.units`.
    """
    made = _Figures(repeats)
    made.per_repeat("requests_per_s", rate)
    counted = [int(phase.counted().sum()) for phases in repeats for phase in phases]
    failed = [int((phase.records["failure"][phase.counted()] > 0).sum()) for phases in repeats for phase in phases]
    total = sum(counted)
    made.one("success_rate", 100 * (total - sum(failed)) / total if total else None, total, "no request was sent in the window")
    made.one("error_count", float(sum(failed)), total)
    latency = made.percentiles("latency_ms", ("avg", "p50", "p90", "p95", "p99"), "sent", "no request succeeded")
    open_loop = all(phase.open_loop for phases in repeats for phase in phases)
    blind = "" if open_loop else NO_SCHEDULE
    scheduled = made.percentiles("latency_scheduled_ms", ("p50", "p99"), "scheduled", "no request succeeded", blind)
    made.percentiles("ttfb_ms", ("p50", "p99"), "first", "this driver cannot see when the first byte arrives")
    delay = made.percentiles("dispatch_delay_ms", ("p99",), "delay", "no request succeeded", blind)
    made.per_repeat("rate_asked", rate_asked, blind)
    made.per_repeat("rate_achieved", rate_achieved)
    made.one("client_ceiling_per_s", ceiling_per_s, missing=no_ceiling)
    achieved = median(rate_achieved(phases) for phases in repeats)
    late = made.value("dispatch_delay_ms_p99")
    bound, why = is_client_bound(achieved, ceiling_per_s, late, made.value("latency_ms_p50"))
    made.one("client_bound", float(bound))
    made.per_repeat("bytes_per_s", bytes_per_s)
    made.one("concurrency", float(concurrency))
    for name, (phase_name, compute) in OF_SERVICES.get(service_type, {}).items():
        chosen = [[phase for phase in phases if phase_name in ("", phase.phase)] for phases in repeats]
        if all(chosen):
            made.per_repeat(name, _in_units(compute, (units or {}).get(name, 1.0)), phases=chosen)
    failures = _pooled(repeats, "sent", failed=True)
    distributions = {"latency": latency, "latency_scheduled": scheduled, "dispatch_delay": delay}
    if len(failures):
        distributions["failed"] = describe(failures)
    return Outcome(
        headline=Load.headline,
        figures=tuple(made.figures),
        distributions={name: one for name, one in distributions.items() if one is not None},
        detail={
            "requests": total,
            "failures": _failures(repeats),
            "client_bound_because": why,
            "by_operation": _by_operation(repeats, operations),
            "apart": _apart(repeats),
            **(detail or {}),
        },
    )


class _Figures:
    """Collects figures."""

    def __init__(self, repeats: Sequence[Phases]) -> None:
        self._repeats = repeats
        self.figures: list[Figure] = []

    def value(self, name: str) -> float | None:
        return next((figure.value for figure in self.figures if figure.name == name), None)

    def one(self, name: str, value: float | None, n: int = 0, missing: str = "") -> None:
        """Add a figure that exists once in a job."""
        self.figures.append(Figure.of(name, _kind(name), value, n=n, missing="" if value is not None else missing))

    def per_repeat(
        self, name: str, compute: Callable[[Phases], float | None], missing: str = "", *, phases: Sequence[Phases] | None = None
    ) -> None:
        """Add a figure whose value is the median of one value for each repeat."""
        each = [value for one in (phases or self._repeats) if (value := compute(one)) is not None]
        if not each or missing:
            self.one(name, None, missing=missing or "nothing was measured")
            return
        interval = median_interval_of_repeats(each)
        self.figures.append(Figure.of(name, _kind(name), median(each), interval=interval, n=len(each), repeats=tuple(each)))

    def percentiles(self, stem: str, parts: Sequence[str], of: str, missing: str, never: str = "") -> Distribution | None:
        """Add percentiles of the samples of all repeats together, and return their whole distribution."""
        values = np.zeros(0) if never else _pooled(self._repeats, of)
        if not len(values):
            for part in parts:
                self.one(f"{stem}_{part}", None, missing=never or missing)
            return None
        of_repeats = [latencies_ms(phases, of=of) for phases in self._repeats]
        medians = [float(np.median(each)) for each in of_repeats if len(each)]
        found = describe(values, medians)
        for part in parts:
            name = f"{stem}_{part}"
            value: float | None = {"avg": found.mean, "p50": found.median}[part] if part in ("avg", "p50") else getattr(found, part)
            if value is None:
                self.one(name, None, found.n, found.missing.get(part, ""))
                continue
            floor = PERCENTILE_FLOORS[part][1] if part in PERCENTILE_FLOORS else 1
            each = tuple(_value(part, one) for one in of_repeats if len(one) >= floor)
            each = each if len(each) == len(self._repeats) else ()
            interval = median_interval_of_repeats(each)
            self.figures.append(Figure.of(name, _kind(name), value, interval=interval, n=found.n, repeats=each))
        return found


def _in_units(compute: Callable[[Phases], float | None], unit: float) -> Callable[[Phases], float | None]:
    def computed(phases: Phases) -> float | None:
        value = compute(phases)
        return None if value is None else value * unit

    return computed


def _value(part: str, values: NDArray[np.float64]) -> float:
    """Return the mean, the median or another percentile of a sample."""
    if part == "avg":
        return float(values.mean())
    return percentile(np.sort(values), PERCENTILE_FLOORS[part][0] if part in PERCENTILE_FLOORS else 50.0)


def _kind(name: str) -> FigureKind:
    return Load.figures[name]


def _pooled(repeats: Sequence[Phases], of: str, *, failed: bool = False) -> NDArray[np.float64]:
    return np.concatenate([latencies_ms(phases, of=of, failed=failed) for phases in repeats])


def _failures(repeats: Sequence[Phases]) -> dict[str, Any]:
    """Return how often each failure happened, and how often each HTTP status."""
    kinds: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    for phases in repeats:
        for phase in phases:
            failed = phase.records[phase.counted() & (phase.records["failure"] > 0)]
            kinds.update(FAILURES[number] if number < len(FAILURES) else "unknown" for number in failed["failure"].tolist())
            statuses.update(str(number) for number in failed["status"].tolist() if number)
    return {"kinds": dict(kinds), "statuses": dict(statuses)}


def _by_operation(repeats: Sequence[Phases], operations: Sequence[str]) -> dict[str, Any]:
    """Return the number, the failures and the median latency of each operation."""
    found: dict[str, Any] = {}
    for number, name in enumerate(operations):
        count, failures, latencies = 0, 0, []
        for phases in repeats:
            for phase in phases:
                chosen = phase.records[phase.counted() & (phase.records["operation"] == number)]
                good = chosen[chosen["failure"] == 0]
                count += len(chosen)
                failures += len(chosen) - len(good)
                latencies.append(good["last"].astype(float) / 1e6)
        values = np.concatenate(latencies)
        if count:
            found[name] = {
                "requests": count,
                "failures": failures,
                "latency_ms_p50": float(np.median(values)) if len(values) else None,
                "latency_ms_p99": percentile(np.sort(values), 99) if len(values) >= PERCENTILE_FLOORS["p99"][1] else None,
            }
    return found


def _apart(repeats: Sequence[Phases]) -> dict[str, int]:
    """Return how many requests enter no rate: those of the warm-up, and those that ended after the window."""
    warm = drained = unanswered = 0
    for phases in repeats:
        for phase in phases:
            counted = phase.counted()
            ended = phase.ended()
            warm += int((phase.records["scheduled"] < 0).sum())
            drained += int((counted & (ended > phase.window_s() * 1e9)).sum())
            unanswered += int((counted & np.isnan(ended)).sum())
    return {"warm_up": warm, "drain": drained, "never_sent": unanswered}
