"""Measures the bandwidth of the main memory with the kernels of STREAM, in numpy.

The kernels and the way of counting are those of STREAM (J. D. McCalpin, "Memory Bandwidth and Machine Balance in Current High Performance
Computers", 1995): arrays of doubles, each at least four times as large as the last-level caches; copy `c = a` counts 16 bytes for each
element, add `c = a + b` and triad `a = b + s·c` count 24. These are the bytes that the program asks for. Many processors also read a line
of the cache before they write to it, and such reads are not counted. The best round is the figure, as in STREAM; the median stands beside
it.

Each kernel is one loop over memory, as in STREAM. numpy has no loop that multiplies and adds. So its triad has `s = -1`, which is its
`subtract`: the same arrays and the same bytes, without the multiplication, which costs nothing while the loop waits for memory. Where torch
is installed, its `add(b, c, alpha=s)` multiplies too, and is used. docs/decisions/0048-triad-is-one-loop.md has the figures.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.util import find_spec
from statistics import median
from typing import Any

import numpy as np

from worker.hardware.caches import LastLevelCache, read_last_level_cache
from worker.hardware.cores import usable_cores
from worker.hardware.free_memory import free_memory_bytes
from worker.hardware_tests.base import Reading, Readings, Share
from worker.hardware_tests.team import Kernel, Team

BYTES = {"copy": 16, "add": 24, "triad": 24}
CACHES = 4  # an array is this many times as large as the last-level caches together
SMALLEST_ARRAY = 64 * 2**20  # in bytes; with a small cache, this makes a call take milliseconds
MEMORY_SHARE = 0.5  # a share of the free memory
LEAST_ROUNDS = 4  # the first one is a warm-up
ALIGNMENT = 2 * 2**20  # bytes: a large page of x86 and of most ARM systems
SCALAR = 0.5  # of torch; not above 1, so that the values stay finite in any number of rounds
BY_TORCH = f"torch.add, with s = {SCALAR}, in one loop over memory"
BY_NUMPY = "numpy.subtract, with s = -1, in one loop over memory"


class CpuBandwidth:
    """Measures with 1, 2, 4 … threads, up to the number of CPUs that this process may use."""

    def run(self, share: Share) -> Readings:
        cache = read_last_level_cache()
        threads = _thread_counts(usable_cores())
        elements = max(CACHES * cache.size_bytes, SMALLEST_ARRAY) // 8
        why_not = _too_little_memory(elements, cache)
        with_torch = find_spec("torch") is not None
        facts: dict[str, Any] = {
            "kernels": "copy c=a, add c=a+b, triad a=b+s·c, on doubles",
            "bytes_counted": "those that the program asks for, as STREAM counts: copy 16, add and triad 24 for each element",
            "triad_by": BY_TORCH if with_torch else BY_NUMPY,
            "array_bytes": 8 * elements,
            "last_level_cache_bytes": cache.size_bytes,
            "last_level_cache_source": cache.source,
            "by_threads": {},
        }
        best: dict[int, dict[str, list[float]]] = {}
        if not why_not:
            for position, count in enumerate(threads):
                best[count] = _measure(count, elements, share.part(len(threads) - position), with_torch=with_torch)
                facts["by_threads"][str(count)] = {name: {"best": max(of), "median": median(of)} for name, of in best[count].items()}
        return Readings(tuple(_readings(best, threads, why_not, elements)), facts)


def _thread_counts(most: int) -> list[int]:
    """Return 1, 2, 4 … and the largest number of threads."""
    return sorted({1 << power for power in range(most.bit_length()) if 1 << power <= most} | {most})


def _too_little_memory(elements: int, cache: LastLevelCache) -> str:
    need, free = 3 * 8 * elements, free_memory_bytes()
    if need <= MEMORY_SHARE * free:
        return ""
    return (
        f"three arrays of {CACHES} times the last-level cache ({cache.size_bytes / 2**20:.0f} MB) take {need / 2**20:.0f} MB, "
        f"and that is more than half of the free memory ({free / 2**20:.0f} MB)"
    )


def _measure(threads: int, elements: int, share: Share, *, with_torch: bool, least_rounds: int = LEAST_ROUNDS) -> dict[str, list[float]]:
    """Return GB/s of each kernel in each round, without the first round."""
    each = elements // threads
    seconds = Team(threads, lambda _number: _kernels(*_arrays(each), with_torch=with_torch)).run(share, least_rounds)
    return {name: [BYTES[name] * each * threads / taken / 1e9 for taken in of[1:]] for name, of in seconds.items()}


def _arrays(elements: int) -> tuple[Any, Any, Any]:
    """Return the arrays a, b and c. The calling thread is the first to touch them."""
    return _aligned(elements, 1.0), _aligned(elements, 2.0), _aligned(elements, 0.0)


def _kernels(a: Any, b: Any, c: Any, *, with_torch: bool) -> Mapping[str, Kernel]:
    return {
        "copy": lambda: np.copyto(c, a),
        "add": lambda: np.add(a, b, out=c),
        "triad": _triad_of_torch(a, b, c) if with_torch else lambda: np.subtract(b, c, out=a),
    }


def _aligned(elements: int, value: float) -> Any:
    """Return an array of doubles that begins at a large page. numpy's own arrays begin 16 bytes after one, and copies are then slower."""
    raw = np.empty(elements + ALIGNMENT // 8)
    skipped = -raw.ctypes.data % ALIGNMENT // 8
    array = raw[skipped : skipped + elements]
    array[:] = value
    return array


def _triad_of_torch(a: Any, b: Any, c: Any) -> Kernel:
    torch: Any = importlib.import_module("torch")  # takes seconds and hundreds of MB, so it is imported only where it is used
    torch.set_num_threads(1)  # this is for each calling thread, because the team's threads share the work
    to, one, other = (torch.from_numpy(array) for array in (a, b, c))
    return lambda: torch.add(one, other, alpha=SCALAR, out=to)


def _readings(measured: Mapping[int, Mapping[str, list[float]]], threads: list[int], why_not: str, elements: int) -> list[Reading]:
    """Return for each kernel the best and the median with all threads, the best with one thread, and the peak of all."""
    most = threads[-1]
    found = []
    for name in BYTES:
        rounds = measured[most][name] if measured else []
        alone = measured[1][name] if measured else []
        found += [
            _reading(f"{name}_gb_per_s", max(rounds, default=None), why_not, tuple(rounds), BYTES[name] * elements),
            _reading(f"{name}_median_gb_per_s", median(rounds) if rounds else None, why_not),
            _reading(f"{name}_1_thread_gb_per_s", max(alone, default=None), why_not, tuple(alone), BYTES[name] * elements),
        ]
    peak = max((max(rounds) for kernels in measured.values() for rounds in kernels.values()), default=None)
    return [_reading("peak_gb_per_s", peak, why_not), *found]


def _reading(name: str, value: float | None, why_not: str, calls: tuple[float, ...] = (), per_call: float = 1.0) -> Reading:
    return Reading(name, "GB/s", "higher", value, why_not, calls, per_call)
