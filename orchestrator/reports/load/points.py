"""Collects the points of each curve: jobs that asked for the same but for the concurrency or the rate."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.reports.bundle import JobRecord
from orchestrator.reports.load.slo import Point
from orchestrator.reports.load.store_texts import store_figures
from orchestrator.reports.load.token_texts import token_figures
from orchestrator.reports.outcomes.work import HOW_LONG
from shared.distributions import Distribution
from shared.figures import Outcome
from shared.jobs import JobStatus
from shared.kinds.load import OF_TOKENS, LoadSpec, Slo
from shared.services.native_tools import OURS

LEVELS = {"concurrency": "requests in flight", "rate": "requests per second that were asked for"}


@dataclass(slots=True)
class Curve:
    """Holds the points of one curve.

    Attributes:
        where: the device and the label of the compute unit.
        swept: what its points differ in, a key of `LEVELS`.
        driver: who sent the requests: our own clients, or a tool.
        definitions: how the tool defines what it tells.
        apart_from_driver: two curves with the same text differ at most in their driver.
        latencies: the distribution of each point's latency, for the picture.
        tokens: the figures of each point that only a language model has; empty for other services.
        stores: the figures of each point that only an object store or a vector database has; empty for other services.
    """

    name: str
    where: str
    swept: str
    slo: Slo | None
    driver: str = OURS
    definitions: tuple[str, ...] = ()
    apart_from_driver: str = ""
    points: list[Point] = field(default_factory=list)
    latencies: dict[str, Distribution] = field(default_factory=dict)
    tokens: dict[str, dict[str, float | None]] = field(default_factory=dict)
    stores: dict[str, dict[str, float]] = field(default_factory=dict)


class Curves:
    """Takes jobs one by one."""

    def __init__(self) -> None:
        self._found: dict[str, Curve] = {}

    def add(self, job: JobRecord, where: str, parameters: str) -> None:
        """Take note of a job. A job without a result is no point."""
        outcome = job.result.outcome if job.result is not None and job.status is JobStatus.COMPLETE else None
        spec = job.workload.spec
        if outcome is None or not isinstance(spec, LoadSpec):
            return
        swept = "concurrency" if spec.load.rate is None else "rate"
        key = _rest(job) + where
        if key not in self._found:
            self._found[key] = _curve(job, spec, where, swept, outcome)
        curve = self._found[key]
        level = float(spec.concurrent_clients * spec.num_clients) if spec.load.rate is None else spec.load.rate
        curve.points.append(_point(job.job_id, level, outcome))
        if "latency" in outcome.distributions:
            curve.latencies[job.job_id] = outcome.distributions["latency"]
        if tokens := token_figures(outcome):
            curve.tokens[job.job_id] = tokens
        if stores := store_figures(outcome):
            curve.stores[job.job_id] = stores

    def all(self) -> list[Curve]:
        """Return the curves, each with its points in order. Curves of one name get what distinguishes them."""
        names: Mapping[str, list[Curve]] = defaultdict(list)
        for curve in self._found.values():
            curve.points.sort(key=lambda point: (point.level, point.job_id))
            names[curve.name].append(curve)
        for members in names.values():
            if len(members) > 1:
                for number, curve in enumerate(members, start=1):
                    curve.name = f"{curve.name} · no. {number}"
        return list(self._found.values())


def _curve(job: JobRecord, spec: LoadSpec, where: str, swept: str, outcome: Outcome) -> Curve:
    driver = spec.client.driver
    name = job.name if driver == OURS else f"{job.name}, sent by {driver}"
    tool = outcome.detail.get("tool")
    said = tool.get("definitions") if isinstance(tool, Mapping) else None
    definitions = tuple(map(str, said)) if isinstance(said, list) else ()
    return Curve(name, where, swept, spec.slo, driver, definitions, _rest(job, driver=False) + where)


def _rest(job: JobRecord, *, driver: bool = True) -> str:
    """Return everything that a job asked for but the level of its load and, if `driver` is false, who sent it."""
    asked = {name: value for name, value in job.workload.model_dump(mode="json").items() if name not in HOW_LONG}
    for name in ("concurrent_clients", "num_clients", "phases"):
        asked.pop(name, None)
    for section, names in (("client", ("concurrent_clients", "rate", "num_requests", "duration_s")), ("load", ("rate",))):
        held = asked.get(section, {})
        inner = held.get("settings", held) if isinstance(held, dict) else {}
        for name in names:
            inner.pop(name, None)
    if not driver and isinstance(asked.get("client"), dict):
        asked["client"].pop("driver", None)
    return json.dumps(asked, sort_keys=True)


def _point(job_id: str, level: float, outcome: Outcome) -> Point:
    def value(name: str) -> float | None:
        found = outcome.figure(name)
        return found.value if found is not None else None

    headline = outcome.figure("requests_per_s")
    interval = headline.interval if headline is not None else None
    return Point(
        job_id=job_id,
        level=level,
        per_s=value("requests_per_s") or 0.0,
        p50=value("latency_ms_p50"),
        p95=value("latency_ms_p95"),
        p99=value("latency_ms_p99"),
        success_rate=value("success_rate"),
        client_bound=bool(value("client_bound")),
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        tokens={figure: value(figure) for figure in OF_TOKENS.values()},
    )
