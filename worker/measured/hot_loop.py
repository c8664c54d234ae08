"""Contains the two loops that call the model. What runs between two readings of the clock is what is measured."""

from __future__ import annotations

import gc
import time
from array import array
from collections.abc import Callable
from time import perf_counter_ns


def warm_up(call: Callable[[], object], min_calls: int, min_s: float, max_s: float) -> array[int]:
    """Call until at least `min_calls` calls were made and `min_s` seconds have passed. Stop after `max_s`, but make at least one call.

    Returns:
        The nanoseconds of each call. They are kept separate from the timed calls.
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
    """Make as many calls as `samples` is long, and store the nanoseconds of each call in it.

    The caller allocates the array. The loop itself reads the clock twice, subtracts, and stores the difference. It does not log, and it
    looks up no other names.

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


def time_calls_undisturbed(call: Callable[[], object], samples: array[int]) -> tuple[int, int]:
    """Run the timed calls with the garbage collector off.

    Returns:
        Nanoseconds of wall-clock time, and nanoseconds of CPU time of all threads.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    cpu = time.process_time_ns()
    wall_ns = time_calls(call, samples)
    cpu_ns = time.process_time_ns() - cpu
    gc.enable()
    gc.unfreeze()
    return wall_ns, cpu_ns
