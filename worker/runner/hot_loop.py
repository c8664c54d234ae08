"""The two loops that call the model. The measurement is what happens between two readings of the clock."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from time import perf_counter_ns


def warm_up(call: Callable[[], object], min_calls: int, min_s: float, max_s: float) -> array[int]:
    """Call until both `min_calls` and `min_s` have passed, capped at `max_s` or one call, whichever is longer.

    Returns:
        Nanoseconds of each call. They are kept apart from the timed calls.
    """
    taken = array("q")
    begin = perf_counter_ns()
    enough, most = begin + int(min_s * 1e9), begin + int(max_s * 1e9)
    after = begin
    while (len(taken) < min_calls or after < enough) and (after < most or not taken):
        before = perf_counter_ns()
        call()
        after = perf_counter_ns()
        taken.append(after - before)
    return taken


def time_calls(call: Callable[[], object], samples: array[int]) -> int:
    """Fill `samples` with the nanoseconds of as many calls as it is long.

    The caller allocates the array. The loop itself reads the clock twice, subtracts, and stores the difference; it allocates, logs
    and looks up nothing else.

    Returns:
        Nanoseconds from the first reading of the clock to the last.
    """
    clock = perf_counter_ns
    first = clock()
    after = first
    for place in range(len(samples)):
        before = clock()
        call()
        after = clock()
        samples[place] = after - before
    return after - first
