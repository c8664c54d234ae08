"""Makes the figures of a job from the records of its requests. Everything here is pure: the same records give the same figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from shared.distributions import Distribution
from shared.figures import Figure, FigureKind, Outcome
from shared.kinds.load import Load
from shared.percentiles import PERCENTILE_FLOORS
from shared.request_records import FAILURES
from shared.stats import median_interval_of_repeats
from worker.drivers.registry import figures_of
from worker.load.ceiling import is_client_bound
from worker.load.phases import Measured, Tally, bytes_per_s, rate, rate_achieved, rate_asked
from worker.load.samples import Sample, values_of
from worker.load.token_figures import add_token_figures
from worker.load.tokens import has_tokens
from worker.plug_ins import named

Phases = Sequence[Measured]
NO_SCHEDULE = "a closed loop has no schedule"


def outcome_of(
    repeats: Sequence[Phases],
    *,
    service_type: str,
    operations: Sequence[str],
    concurrency: int,
    ceiling_per_s: float | None,
    no_ceiling: str = "",
    units: Mapping[str, float] | None = None,
    fills: Collection[str] = (),
    found: Mapping[str, tuple[Sequence[float], str]] | None = None,
    detail: Mapping[str, Any] | None = None,
) -> Outcome:
    """Return the figures of a job.

    Args:
        repeats: The phases of each repeat.
        concurrency: How many requests all clients together keep in flight.
        no_ceiling: Why there is no `ceiling_per_s`.
        units: What one request stands for in a figure of the service; see `worker.load.units`.
        fills: Phases that enter only the figures that are about them, and the counts of failures.
        found: Figures that are not made of records, by their name: one value for each repeat that has one, and why there are none.
    """
    main = [[phase for phase in phases if phase.phase not in fills] or phases for phases in repeats]
    made = Figures(main)
    made.per_repeat("requests_per_s", rate)
    tallies = [phase.tally for phases in repeats for phase in phases]
    total, failed = sum(one.measured for one in tallies), sum(one.failed for one in tallies)
    made.one("success_rate", 100 * (total - failed) / total if total else None, total, "no request was sent in the window")
    made.one("error_count", float(failed), total)
    latency = made.percentiles("latency_ms", ("avg", "p50", "p90", "p95", "p99"), "sent", "no request succeeded")
    open_loop = all(phase.open_loop for phases in main for phase in phases)
    blind = "" if open_loop else NO_SCHEDULE
    scheduled = made.percentiles("latency_scheduled_ms", ("p50", "p99"), "scheduled", "no request succeeded", blind)
    made.percentiles("ttfb_ms", ("p50", "p99"), "first", "this driver cannot see when the first byte arrives")
    delay = made.percentiles("dispatch_delay_ms", ("p99",), "delay", "no request succeeded", blind)
    made.per_repeat("rate_asked", rate_asked, blind)
    made.per_repeat("rate_achieved", rate_achieved)
    made.one("client_ceiling_per_s", ceiling_per_s, missing=no_ceiling)
    achieved = median(rate_achieved(phases) for phases in main)
    late = made.value("dispatch_delay_ms_p99")
    bound, why = is_client_bound(achieved, ceiling_per_s, late, made.value("latency_ms_p50"))
    made.one("client_bound", float(bound))
    made.per_repeat("bytes_per_s", bytes_per_s)
    made.one("concurrency", float(concurrency))
    for name, entry in figures_of(service_type).items():
        chosen = [[phase for phase in phases if entry.phase in ("", phase.phase)] for phases in repeats]
        if all(chosen):
            compute = named(entry.computed)(operations.index(entry.operation)) if entry.operation else named(entry.computed)
            made.per_repeat(name, _in_units(compute, (units or {}).get(name, 1.0)), phases=chosen)
    for name, (values, missing) in (found or {}).items():
        made.of_repeats(name, values, missing)
    distributions = {"latency": latency, "latency_scheduled": scheduled, "dispatch_delay": delay}
    written: dict[str, Any] = {}
    if all(has_tokens(phase) for phases in repeats for phase in phases):
        of_tokens, written["tokens"] = add_token_figures(made, repeats)
        distributions |= of_tokens
    failures = Sample.of((values for phases in repeats for values in values_of(phases, "sent", failed=True)), failed)
    if len(failures):
        distributions["failed"] = failures.distribution(())
    return Outcome(
        headline=Load.headline,
        figures=tuple(made.figures),
        distributions={name: one for name, one in distributions.items() if one is not None},
        detail={
            "requests": total,
            "failures": _failures(tallies),
            "client_bound_because": why,
            "by_operation": _by_operation(repeats, operations),
            "apart": _apart(tallies),
            **written,
            **(detail or {}),
        },
    )


class Figures:
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
        self.of_repeats(name, [value for one in (phases or self._repeats) if (value := compute(one)) is not None], missing)

    def of_repeats(self, name: str, each: Sequence[float], missing: str = "") -> None:
        """Add a figure whose value is the median of these values, one for each repeat."""
        if not each or missing:
            self.one(name, None, missing=missing or "nothing was measured")
            return
        interval = median_interval_of_repeats(list(each))
        self.figures.append(Figure.of(name, _kind(name), median(each), interval=interval, n=len(each), repeats=tuple(each)))

    def percentiles(self, stem: str, parts: Sequence[str], of: str, missing: str, never: str = "") -> Distribution | None:
        """Add percentiles of one of the times of a request; see `worker.load.samples.values_of` and `sampled`."""
        samples = [] if never else [_sample(phases, of) for phases in self._repeats]
        return self.sampled({part: f"{stem}_{part}" for part in parts}, samples, never or missing)

    def sampled(self, names: Mapping[str, str], samples: Sequence[Sample], missing: str) -> Distribution | None:
        """Add percentiles of the samples of all repeats together, and return their whole distribution. The samples are empty afterwards.

        Args:
            names: The name of the figure for each percentile.
            samples: One for each repeat.
            missing: Why there is nothing, if all of them are empty.
        """
        if not any(map(len, samples)):
            for name in names.values():
                self.one(name, None, missing=missing)
            return None
        medians = [each.percentile_ms(50) for each in samples if len(each)]
        of_repeats = {part: _of_repeats(part, samples) for part in names}
        found = Sample.merged(samples).distribution(medians)
        for part, name in names.items():
            value: float | None = {"avg": found.mean, "p50": found.median}[part] if part in ("avg", "p50") else getattr(found, part)
            if value is None:
                self.one(name, None, found.n, found.missing.get(part, ""))
                continue
            each = of_repeats[part]
            interval = median_interval_of_repeats(each)
            self.figures.append(Figure.of(name, _kind(name), value, interval=interval, n=found.n, repeats=each))
        return found


def _in_units(compute: Callable[[Phases], float | None], unit: float) -> Callable[[Phases], float | None]:
    def computed(phases: Phases) -> float | None:
        value = compute(phases)
        return None if value is None else value * unit

    return computed


def _sample(phases: Phases, of: str, operation: int | None = None) -> Sample:
    """Return the values of the measured requests of one repeat that succeeded."""
    return Sample.of(values_of(phases, of, operation=operation), sum(phase.tally.measured - phase.tally.failed for phase in phases))


def _of_repeats(part: str, samples: Sequence[Sample]) -> tuple[float, ...]:
    """Return one value for each repeat. It is empty if a repeat has too few requests for it."""
    floor = PERCENTILE_FLOORS[part][1] if part in PERCENTILE_FLOORS else 1
    if any(len(sample) < floor for sample in samples):
        return ()
    rank = PERCENTILE_FLOORS[part][0] if part in PERCENTILE_FLOORS else 50.0
    return tuple(sample.mean_ms if part == "avg" else sample.percentile_ms(rank) for sample in samples)


def _kind(name: str) -> FigureKind:
    return Load.figures[name]


def _failures(tallies: Iterable[Tally]) -> dict[str, Any]:
    """Return how often each failure happened, and how often each HTTP status."""
    kinds: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    for tally in tallies:
        kinds.update({FAILURES[number] if number < len(FAILURES) else "unknown": count for number, count in tally.kinds.items()})
        statuses.update({str(number): count for number, count in tally.statuses.items()})
    return {"kinds": dict(kinds), "statuses": dict(statuses)}


def _by_operation(repeats: Sequence[Phases], operations: Sequence[str]) -> dict[str, Any]:
    """Return the number, the failures and the median latency of each operation."""
    found: dict[str, Any] = {}
    for number, name in enumerate(operations):
        counts = [phase.tally.operations.get(number, (0, 0)) for phases in repeats for phase in phases]
        count = sum(total for total, _ in counts)
        if not count:
            continue
        values = Sample.merged([_sample(phases, "sent", number) for phases in repeats])
        found[name] = {
            "requests": count,
            "failures": sum(bad for _, bad in counts),
            "latency_ms_p50": values.percentile_ms(50) if len(values) else None,
            "latency_ms_p99": values.percentile_ms(99) if len(values) >= PERCENTILE_FLOORS["p99"][1] else None,
        }
    return found


def _apart(tallies: Sequence[Tally]) -> dict[str, int]:
    """Return how many requests enter no rate: those of the warm-up, those that ended after the window, and those without an end."""
    return {
        "warm_up": sum(one.warm_up for one in tallies),
        "drain": sum(one.drained for one in tallies),
        "never_sent": sum(one.never_sent for one in tallies),
        "open_at_the_end": sum(one.cut for one in tallies),
    }
