"""Measures three latencies of a CPU: of a load from memory, of waking a thread, and of the smallest call of numpy."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from threading import Event, Thread
from time import perf_counter_ns
from typing import Any

import numpy as np

from worker.hardware.caches import read_last_level_cache
from worker.hardware.free_memory import free_memory_bytes
from worker.hardware_tests.base import Reading, Readings, Share
from worker.hardware_tests.chase import LINE, Chase, chase

CACHES = 4  # the chain is this many times as large as the last-level caches together, where time and memory allow it
LEAST_CACHES = 2  # a ring that is followed in the same order misses in any cache of half its size
SMALLEST_CHAIN = 2**26  # bytes
MOST_NODES = 8 * 2**20  # 512 MB; making more takes longer than the share
BYTES_TO_MAKE = 2 * LINE + 16  # a node, its place in the list and in the random order
WAKE_UPS = 300
CALLS = 1_000


class CpuLatency:
    """Measures `memory_latency_ns`, `thread_wakeup_us` and `ufunc_call_us`."""

    def run(self, share: Share) -> Readings:
        cache = read_last_level_cache()
        nodes = min(max(CACHES * cache.size_bytes, SMALLEST_CHAIN) // LINE, MOST_NODES)
        why_not = _why_not(nodes, cache.size_bytes)
        walked = None if why_not else chase(nodes, share)
        waking = _wake_ups()
        calls = _ufunc_calls()
        readings = (
            _memory(walked, why_not),
            Reading("thread_wakeup_us", "us", "lower", median(waking), calls=tuple(waking)),
            Reading("ufunc_call_us", "us", "lower", median(calls), calls=tuple(calls), per_call=CALLS),
        )
        return Readings(readings, _facts(nodes, cache.size_bytes, cache.source, walked))


def _why_not(nodes: int, cache_bytes: int) -> str:
    free = free_memory_bytes()
    if nodes * LINE < LEAST_CACHES * cache_bytes:
        return (
            f"a chain of at least {LEAST_CACHES} times the last-level caches ({cache_bytes / 2**20:.0f} MB) has more than {MOST_NODES} "
            "nodes, which take longer to make than this test may take"
        )
    if nodes * BYTES_TO_MAKE > free / 2:
        return (
            f"the chain takes {nodes * BYTES_TO_MAKE / 2**20:.0f} MB, and that is more than half of the free memory ({free / 2**20:.0f} MB)"
        )
    return ""


def _memory(walked: Chase | None, why_not: str) -> Reading:
    if walked is None:
        return Reading("memory_latency_ns", "ns", "lower", None, why_not)
    # The least disturbed walk is the figure, as in the bandwidth test: other programs can only make a load slower.
    return Reading("memory_latency_ns", "ns", "lower", min(walked.steps_ns), calls=walked.steps_ns, per_call=walked.steps_of_a_walk)


def _wake_ups() -> list[float]:
    """Return the microseconds from one thread's `set` to the return of another thread's `wait`, of Python's own events."""
    ready, go, woken_at = Event(), Event(), [0]
    taken: list[float] = []

    def sleeper() -> None:
        for _ in range(WAKE_UPS):
            ready.set()
            go.wait()
            woken_at[0] = perf_counter_ns()
            go.clear()
            done.set()

    done = Event()
    thread = Thread(target=sleeper, name="sleeper", daemon=True)
    thread.start()
    pause = Event()
    for _ in range(WAKE_UPS):
        ready.wait()
        ready.clear()
        pause.wait(0.001)  # wait until the other thread really sleeps
        begin = perf_counter_ns()
        go.set()
        done.wait()
        done.clear()
        taken.append((woken_at[0] - begin) / 1e3)
    thread.join()
    return taken


def _ufunc_calls() -> list[float]:
    """Return the microseconds of an addition of one number, averaged over blocks of calls."""
    one, zero = np.ones(1), np.zeros(1)
    add: Callable[..., Any] = np.add
    taken = []
    for _ in range(20):
        begin = perf_counter_ns()
        for _ in range(CALLS):
            add(one, zero, one)
        taken.append((perf_counter_ns() - begin) / 1e3 / CALLS)
    return taken


def _facts(nodes: int, cache_bytes: int, source: str, walked: Chase | None) -> dict[str, Any]:
    return {
        "memory_latency": "a chain of Python objects in random order, one for each cache line of 64 bytes; misses of the TLB are included",
        "chain_bytes": nodes * LINE,
        "last_level_cache_bytes": cache_bytes,
        "last_level_cache_source": source,
        "interpreter_ns_subtracted": walked.interpreter_ns if walked else None,
        "thread_wakeup": "from the call of Event.set in one thread to the return of Event.wait in another; median",
        "ufunc_call": "numpy.add of one number into an existing array; median of blocks of 1 000 calls",
    }
