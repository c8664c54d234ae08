"""Contains what the measured passes have in common: the warm-up, and the blocks of passes that alternate."""

from __future__ import annotations

import gc
import time
from array import array
from collections.abc import Callable, Sequence
from typing import Protocol

from worker.generators.base import Clock, Generator

BLOCK = 5  # calls of one pass that follow each other
WARMUPS = 3  # whole calls of each shape: the second is still slower than the third where graphs are captured
Pass = Callable[[range], None]  # makes the calls with these numbers


class Stamped(Protocol):
    """Is where it is noted how the blocks went."""

    blocks: array[int]
    compilations: int
    wall_ns: int
    cpu_ns: int


def warm_up(call: Callable[[int], int], taken: array[int], clock: Clock, *, min_calls: int, min_s: float, max_s: float) -> None:
    """Make at least `WARMUPS` calls, then go on until `min_calls` and `min_s` are reached. Stop after `max_s`.

    Args:
        call: Makes the call with a number, and returns its duration, which is added to `taken`.
    """
    begin = clock()
    enough, most = begin + int(min_s * 1e9), begin + int(max_s * 1e9)
    while len(taken) < WARMUPS or ((len(taken) < min_calls or clock() < enough) and clock() < most):
        taken.append(call(len(taken)))


def alternate(requests: int, passes: Sequence[Pass], plain: Pass, stamps: Stamped, generator: Generator, clock: Clock) -> None:
    """Make the measured calls with the garbage collector off, in blocks of passes whose order turns around each time.

    Args:
        requests: How many calls each pass makes.
        plain: The pass whose blocks are noted: when each began, counted from here, and how long it took.
    """
    announced, compiled = clock(), generator.compiled().times
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        cpu, begin = time.process_time_ns(), clock()
        for block, start in enumerate(range(0, requests, BLOCK)):
            numbers = range(start, min(requests, start + BLOCK))
            for one in passes if block % 2 == 0 else reversed(passes):
                started = clock()
                one(numbers)
                if one == plain:
                    stamps.blocks.extend((started - announced, clock() - started))
        stamps.wall_ns, stamps.cpu_ns = clock() - begin, time.process_time_ns() - cpu
    finally:
        gc.enable()
        gc.unfreeze()
    stamps.compilations = generator.compiled().times - compiled
