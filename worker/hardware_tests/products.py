"""Measures matrix products of growing size: how fast one call is, and how fast the device computes when it goes on and on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any, Protocol

from worker.hardware_tests.base import Reading, Share
from worker.hardware_tests.conditions import Conditions

FIRST_SIZE = 256
LONG_ENOUGH_S = 0.2  # the duration of one call; then the cost of the call itself does not matter
LEAST_CALLS = 3
AT_LEAST_IN_TIME = 2  # calls of a size must fit into what is left of the share, or the size is not tried
FIRST_CALLS = 2, 20  # the calls of each size: at least and at most
FIRST_CALLS_S = 0.02
WARM_UP_SHARE = 0.5  # a share of the sustained calls: the device gets hot in the first half, and the second half is the figure


class Product(Protocol):
    """Multiplies two square matrices of random normal numbers. Zeros would be faster on some devices, because fewer bits change."""

    def __call__(self) -> object:
        """Compute one product, and return only when it is there."""


@dataclass(frozen=True)
class Precision:
    """Describes how one precision is computed here: by which library, and how the matrices of a size are made.

    Attributes:
        make: Returns the call for square matrices of this size.
        bytes_per_element: Of the two factors. `bytes_of_result` is that of the product.
        why_not: Why it cannot be computed here. Then there is no `make`.
    """

    name: str
    library: str = ""
    make: Callable[[int], Product] | None = None
    bytes_per_element: int = 8
    bytes_of_result: int = 8
    why_not: str = ""


@dataclass(frozen=True)
class Rate:
    """Holds the speed of one precision in TFLOP/s (10^12): the fastest single call, and the calls of the second half of the time."""

    burst: float
    sustained: float
    calls: tuple[float, ...]
    size: int
    seconds_per_call: float
    conditions: dict[str, Any]
    ended_because: str


def measure(precision: Precision, share: Share, conditions: Conditions, most_bytes: float) -> Rate:
    """Double the size until one call takes more than 0.2 s, then go on with that size until the share is over.

    A size that would need more than `most_bytes` of memory, or whose first calls would not fit into the share, is not tried.
    """
    if precision.make is None:
        raise ValueError(f"{precision.name} cannot be computed here: {precision.why_not}")
    size, ended = FIRST_SIZE, "one call takes more than 0.2 s"
    call = precision.make(size)
    call()  # the first call may choose a kernel, start threads, or load a library
    rates = _first_rates(call, size)
    taken = _seconds_at(size, max(rates))
    while taken <= LONG_ENOUGH_S:
        if _memory(precision, 2 * size) > most_bytes:
            ended = "the next size would take more memory than half of what is free"
            break
        if share.left_s() < 8 * taken * AT_LEAST_IN_TIME:
            ended = "the next size would take more than the share of the time"
            break
        size *= 2
        call = precision.make(size)
        call()
        rates = _first_rates(call, size)
        taken = _seconds_at(size, max(rates))
    conditions.note()
    while len(rates) < LEAST_CALLS or not share.is_over():
        rates.append(_tflops(size, _seconds(call)))
        conditions.note()
    settled = rates[int(len(rates) * WARM_UP_SHARE) :]
    sustained = len(settled) / sum(1 / rate for rate in settled)  # all operations over all the time, as each call has equally many
    return Rate(max(rates), sustained, tuple(rates), size, taken, conditions.summary(), ended)


def readings(precision: Precision, rate: Rate | None) -> tuple[Reading, Reading]:
    """Return the sustained and the burst figure of a precision."""
    names = f"{precision.name}_tflops", f"{precision.name}_burst_tflops"
    if rate is None:
        first, second = (Reading(name, "TFLOP/s", "higher", None, precision.why_not) for name in names)
        return first, second
    return (
        Reading(names[0], "TFLOP/s", "higher", rate.sustained, calls=rate.calls, per_call=2 * rate.size**3),
        Reading(names[1], "TFLOP/s", "higher", rate.burst),
    )


def facts_of(precision: Precision, rate: Rate) -> dict[str, Any]:
    return {
        "library": precision.library,
        "size": rate.size,
        "seconds_per_call": rate.seconds_per_call,
        "calls": len(rate.calls),
        "no_larger_size_because": rate.ended_because,
        **rate.conditions,
    }


def _first_rates(call: Product, size: int) -> list[float]:
    """Return the speed of the first calls of a size. Calls of a small size are repeated, because single ones are often disturbed."""
    least, most = FIRST_CALLS
    rates: list[float] = []
    begin = perf_counter_ns()
    while len(rates) < least or (perf_counter_ns() - begin < FIRST_CALLS_S * 1e9 and len(rates) < most):
        rates.append(_tflops(size, _seconds(call)))
    return rates


def _seconds(call: Product) -> float:
    begin = perf_counter_ns()
    call()
    return (perf_counter_ns() - begin) / 1e9


def _tflops(size: int, seconds: float) -> float:
    """Return the speed of one product: a multiplication and an addition for each of size^3 pairs."""
    return 2 * size**3 / seconds / 1e12


def _seconds_at(size: int, tflops: float) -> float:
    return 2 * size**3 / tflops / 1e12


def _memory(precision: Precision, size: int) -> int:
    return size * size * (2 * precision.bytes_per_element + precision.bytes_of_result)
