"""Measures the latency of memory: how long a load takes whose address is the result of the load before it.

Without a compiler, the chain consists of Python objects: each holds the next one in a slot, at the same place of its own cache line.
Following a slot costs the interpreter about 2 ns, which is measured with a chain that fits into the first-level cache, and subtracted.
The order is random, so that no prefetcher can guess it. One walk is longer than the caches can hold, so that each step is a miss.
The figure contains the misses of the TLB that small pages (4 KB) cause, as for other programs with a large heap.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

import numpy as np

from worker.hardware_tests.base import Share

LINE = 64  # the bytes of a cache line, and of a node with the interpreter's own fields (64-bit CPython)
STEPS = 32  # the steps of one round of the loop
IN_CACHE = 64  # nodes: 4 KB
LEAST_WALKS = WALKS_IN_A_RING = 16
MOST_WALKS = 200


class Node:
    """Is one link of the chain. The unused slots make it as large as a cache line."""

    __slots__ = ("next", "pad_1", "pad_2", "pad_3")
    next: Any


@dataclass(frozen=True)
class Chase:
    """Holds the nanoseconds of one step in each walk, with the interpreter's part subtracted, and that part itself."""

    steps_ns: tuple[float, ...]
    steps_of_a_walk: int
    interpreter_ns: float


def chase(nodes: int, share: Share) -> Chase:
    """Walk along a chain of this many nodes, again and again until the share is over."""
    was_enabled = gc.isenabled()
    gc.disable()  # the collector would visit all nodes while they are made
    try:
        interpreter_ns = min(_steps_ns(_chain(IN_CACHE), 200, 20))
        chain = _chain(nodes)
        rounds = max(nodes // STEPS // WALKS_IN_A_RING, 1)  # a walk continues where the one before has ended
        taken: list[float] = []
        node = chain[0]
        while len(taken) < LEAST_WALKS or (not share.is_over() and len(taken) < MOST_WALKS):
            begin = perf_counter_ns()
            node = _walk(node, rounds)
            taken.append((perf_counter_ns() - begin) / (rounds * STEPS))
        _unlink(chain)
    finally:
        if was_enabled:
            gc.enable()
    return Chase(tuple(value - interpreter_ns for value in taken), rounds * STEPS, interpreter_ns)


def _chain(length: int) -> list[Node]:
    """Return the nodes by address, linked to one ring in a random order."""
    nodes = [Node() for _ in range(length)]
    order = np.random.default_rng(length).permutation(length).tolist()
    before = nodes[order[-1]]
    for index in order:
        node = nodes[index]
        before.next = node
        before = node
    return nodes


def _unlink(nodes: list[Node]) -> None:
    """Open the ring. Otherwise, only the garbage collector could free it."""
    for node in nodes:
        node.next = None


def _steps_ns(nodes: list[Node], rounds: int, walks: int) -> list[float]:
    node, taken = nodes[0], []
    for _ in range(walks):
        begin = perf_counter_ns()
        node = _walk(node, rounds)
        taken.append((perf_counter_ns() - begin) / (rounds * STEPS))
    _unlink(nodes)
    return taken


def _walk(x: Any, rounds: int) -> Any:
    """Take `rounds` × `STEPS` steps. They stand one behind the other, so that the loop itself costs almost nothing."""
    for _ in range(rounds):
        x = x.next.next.next.next.next.next.next.next.next.next.next.next.next.next.next.next
        x = x.next.next.next.next.next.next.next.next.next.next.next.next.next.next.next.next
    return x
