"""Computes when requests are due. A load shape is a seeded generator of times, in nanoseconds since the load began; nothing here waits.

Every client process generates the same whole schedule, and takes its share of it (`share`): so the sum of all processes is exactly the
schedule that was asked for, however many processes there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count, islice
from math import sqrt
from random import Random
from typing import Any

CLOSED_PATTERNS = ("closed", "single_stream", "multi_stream", "offline")
OPEN_PATTERNS = ("constant", "poisson", "gamma", "ramp", "trace", "server")
NS = 1_000_000_000


@dataclass(frozen=True)
class Shape:
    """Says when requests are sent.

    Attributes:
        pattern: One of the patterns above. In a closed loop, a virtual client sends its next request when the last one has ended. In an
            open loop, requests are due at times that do not depend on the service.
        rate: Requests per second of all client processes together, for open patterns. For a ramp, the rate at its end.
        rate_from: The rate at the beginning of a ramp.
        ramp_s: How long the ramp takes. Afterwards the rate stays.
        burstiness: The shape of the gamma distribution of the gaps: 1 is Poisson, less is burstier, more is more regular.
        trace_s: The times of a trace, in seconds since the load began.
        seed: Two runs with the same seed have the same schedule.
    """

    pattern: str = "closed"
    rate: float = 0.0
    rate_from: float = 0.0
    ramp_s: float = 0.0
    burstiness: float = 1.0
    trace_s: tuple[float, ...] = ()
    seed: str = ""

    @property
    def is_open(self) -> bool:
        return self.pattern in OPEN_PATTERNS


def together(pattern: str, concurrent: int) -> tuple[int, bool]:
    """Return how many requests are in flight for a closed pattern, and whether all of them must end before the next are sent.

    MLPerf's SingleStream has one request in flight. MultiStream sends its requests together, and the next ones when all have ended. In
    Offline every request may be sent at once; `concurrent` bounds how many are in flight.
    """
    if pattern == "single_stream":
        return 1, False
    return concurrent, pattern == "multi_stream"


def due_times(shape: Shape) -> Iterator[int]:
    """Yield when each request is due, in order. Only a trace ends.

    Raises:
        ValueError: The shape is not one of an open loop, or has no rate.
    """
    if shape.pattern == "trace":
        return iter(sorted(round(seconds * NS) for seconds in shape.trace_s))
    if shape.pattern not in OPEN_PATTERNS:
        raise ValueError(f"the pattern {shape.pattern!r} has no schedule; those with one are: {', '.join(OPEN_PATTERNS)}")
    if not shape.rate > 0:
        raise ValueError(f"the pattern {shape.pattern!r} needs a rate above 0 requests per second, and it is {shape.rate:g}")
    if shape.pattern == "constant":
        return (round(number * NS / shape.rate) for number in count())
    if shape.pattern == "ramp":
        return _ramp(shape)
    return _random_gaps(shape)


def _ramp(shape: Shape) -> Iterator[int]:
    """Yield when the integral of a rate that grows linearly reaches each whole number."""
    start, rate, length = shape.rate_from, shape.rate, shape.ramp_s
    within = (start + rate) / 2 * length
    slope = (rate - start) / length if length > 0 else 0.0
    for number in count():
        if number >= within:
            yield round((length + (number - within) / rate) * NS)
        elif slope == 0:
            yield round(number / rate * NS)
        else:
            yield round((sqrt(start * start + 2 * slope * number) - start) / slope * NS)


def _random_gaps(shape: Shape) -> Iterator[int]:
    """Yield times whose gaps are drawn from an exponential (Poisson, MLPerf's Server) or a gamma distribution."""
    draw = Random(f"arrivals/{shape.seed}")  # noqa: S311 - draws what is sent, no secrets
    gap = 1 / shape.rate
    time = 0.0
    if shape.pattern == "gamma":
        while True:
            time += draw.gammavariate(shape.burstiness, gap / shape.burstiness)
            yield round(time * NS)
    while True:
        time += draw.expovariate(shape.rate)
        yield round(time * NS)


def expected(load: Mapping[str, Any], window_s: float, ramp_s: float | None) -> int:
    """Return how many requests a schedule asks for in a window, on average over its seeds.

    Args:
        load: The section `load` of the specification of a job.
        ramp_s: How long a ramp takes.
    """
    if load["pattern"] == "trace":
        return sum(at < window_s for at in load["trace_s"])
    start, rate = float(load["rate_from"] or 0.0), float(load["rate"])
    if load["pattern"] != "ramp" or not ramp_s:
        return round(rate * window_s)
    rising = min(window_s, ramp_s)
    return round(start * rising + (rate - start) / ramp_s * rising**2 / 2 + rate * (window_s - rising))


def share(times: Iterator[int], client: int, clients: int) -> Iterator[int]:
    """Return the times that one of several client processes follows: every `clients`-th one."""
    return islice(times, client, None, clients)


def share_of_count(requests: int, client: int, clients: int) -> int:
    """Return how many of the requests one of several client processes sends."""
    return requests // clients + (client < requests % clients)


def seed_text(seed: int, point: str, repeat: int, client: int | None = None) -> str:
    """Return the seed of a client process, or of the schedule that all of them share.

    It changes with the point of a sweep, the repeat and the process, so that a cache that one of them has warmed does not help another.

    Args:
        point: What the job asks for, as text.
    """
    return "/".join(map(str, (seed, point, repeat, *(() if client is None else (client,)))))
