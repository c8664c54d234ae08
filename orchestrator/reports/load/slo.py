"""Finds what a curve over the concurrency says: the peak, and the highest level at which the service keeps its SLO."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shared.kinds.load import OF_TOKENS, Slo

ROUNDING = 1e-9  # a rate of exactly the limit keeps it


@dataclass(frozen=True, slots=True)
class Point:
    """Describes one job of a curve.

    Attributes:
        level: the requests in flight of all clients together or, for an open loop, the asked requests per second.
        p50, p95, p99: the latency in milliseconds; None if the sample is too small.
        success_rate: in percent.
        client_bound: whether the client and not the service may have been the limit. Such a point wins nothing.
        tokens: the figures of a language model, by their names; None for those that are not known.
    """

    job_id: str
    level: float
    per_s: float
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    success_rate: float | None = None
    client_bound: bool = False
    low: float | None = None
    high: float | None = None
    tokens: Mapping[str, float | None] = field(default_factory=dict)


def peak(points: Sequence[Point]) -> Point | None:
    """Return the point with the highest throughput, among those that the client did not limit."""
    return max((point for point in points if not point.client_bound), key=lambda point: point.per_s, default=None)


def broken(point: Point, slo: Slo) -> str:
    """Return which part of the SLO a point breaks, or cannot show that it keeps. Empty if it keeps all."""
    of_tokens = [(figure, getattr(slo, limit), point.tokens.get(figure)) for limit, figure in OF_TOKENS.items()]
    for name, limit, value in (
        ("p50", slo.p50_latency_ms, point.p50),
        ("p95", slo.p95_latency_ms, point.p95),
        ("p99", slo.p99_latency_ms, point.p99),
        *of_tokens,
    ):
        if limit is None:
            continue
        if value is None:
            why = "because the sample is too small" + (", or the server does not show it" if name in OF_TOKENS.values() else "")
            return f"its {name} is not known, {why}"
        if value > limit:
            return f"its {name} is {value:.4g} ms, above {limit:g} ms"
    if point.success_rate is None:
        return "its error rate is not known"
    failed = 1 - point.success_rate / 100
    too_many = failed > slo.max_error_rate + ROUNDING
    return f"{failed:.2%} of its requests failed, above {slo.max_error_rate:.2%}" if too_many else ""


@dataclass(frozen=True, slots=True)
class Sustained:
    """Holds the highest level that keeps the SLO together with every lower one, or None, and why the next level does not."""

    point: Point | None
    why: str


def sustained(points: Sequence[Point], slo: Slo) -> Sustained:
    """Return up to which level the SLO is kept. Jobs of one level must all keep it."""
    best: Point | None = None
    for point in sorted(points, key=lambda point: point.level):
        if why := broken(point, slo):
            if best is not None and best.level == point.level:
                lower = [one for one in points if one.level < point.level]
                best = max(lower, key=lambda one: one.level, default=None)
            return Sustained(best, f"at {point.level:g}, {why}")
        if point.client_bound:
            return Sustained(best, f"at {point.level:g}, the client may have been the limit, so nothing is known of the service there")
        best = point
    return Sustained(best, "every measured level keeps it; the limit lies higher" if best is not None else "nothing was measured")
