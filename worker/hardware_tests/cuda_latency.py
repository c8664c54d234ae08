"""Measures what it costs to start a kernel on a CUDA device: back to back, and with waiting for its end."""

from __future__ import annotations

from statistics import median
from time import perf_counter_ns

from worker.hardware_tests.base import Reading, Readings, Share
from worker.hardware_tests.cuda import open_cuda

CALLS = 1_000  # the calls of one block of launches
LEAST_BLOCKS = 5
MOST_BLOCKS = 100


class CudaLatency:
    """Measures `kernel_launch_us` and `kernel_round_trip_us`, both with torch's own cost of a call."""

    def run(self, share: Share) -> Readings:
        device = open_cuda()
        one = device.torch.zeros(1, device="cuda")
        smallest = one.zero_
        smallest()
        device.synchronize()
        launches: list[float] = []
        trips: list[float] = []
        while len(launches) < LEAST_BLOCKS or (not share.is_over() and len(launches) < MOST_BLOCKS):
            begin = perf_counter_ns()
            for _ in range(CALLS):
                smallest()
            device.synchronize()
            launches.append((perf_counter_ns() - begin) / 1e3 / CALLS)
            begin = perf_counter_ns()
            smallest()
            device.synchronize()
            trips.append((perf_counter_ns() - begin) / 1e3)
        readings = (
            Reading("kernel_launch_us", "us", "lower", median(launches), calls=tuple(launches), per_call=CALLS),
            Reading("kernel_round_trip_us", "us", "lower", median(trips), calls=tuple(trips)),
        )
        facts = {
            **device.facts(),
            "kernel_launch": f"{CALLS} kernels that set one number to zero, started one after the other without waiting; the time of one",
            "kernel_round_trip": "one such kernel, from its start until the host knows that it has ended",
        }
        return Readings(readings, facts)
