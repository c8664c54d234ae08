"""Lists the figures of the kind `hardware`: what each test of the device measures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from shared.figures import FigureKind

KERNELS = {"copy": "a copy", "add": "a sum of two arrays", "triad": "a sum of an array and a scaled array"}
PRECISIONS = ("fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "int8")
LINKS = {
    "host_to_device_pinned": "from pinned memory of the host to the device",
    "host_to_device_pageable": "from pageable memory of the host to the device",
    "device_to_host_pinned": "from the device to pinned memory of the host",
    "device_to_host_pageable": "from the device to pageable memory of the host",
}


def _bandwidths() -> Iterator[tuple[str, FigureKind]]:
    yield "peak_gb_per_s", FigureKind("GB/s", "higher", "the highest memory bandwidth of all kernels and numbers of threads")
    for name, what in KERNELS.items():
        counted = f"memory bandwidth of {what}; 1 GB is 10^9 bytes that the program asked for"
        yield f"{name}_gb_per_s", FigureKind("GB/s", "higher", f"{counted}; the best call, with all threads")
        yield f"{name}_median_gb_per_s", FigureKind("GB/s", "higher", f"{counted}; the median of the calls, with all threads")
        yield f"{name}_1_thread_gb_per_s", FigureKind("GB/s", "higher", f"{counted}; the best call, with one thread")
    for name, what in LINKS.items():
        yield f"{name}_gb_per_s", FigureKind("GB/s", "higher", f"bandwidth of the link {what}; the best copy")


def _rates() -> Iterator[tuple[str, FigureKind]]:
    for name in PRECISIONS:
        product = f"10^12 operations per second of {name} matrix products"
        yield f"{name}_tflops", FigureKind("TFLOP/s", "higher", f"{product}, in the second half of a longer run")
        yield f"{name}_burst_tflops", FigureKind("TFLOP/s", "higher", f"{product}, in the fastest single call")


FIGURES: Mapping[str, FigureKind] = {
    **dict(_bandwidths()),
    **dict(_rates()),
    "memory_latency_ns": FigureKind("ns", "lower", "the time of a load from memory whose address depends on the load before"),
    "thread_wakeup_us": FigureKind("us", "lower", "the time from one thread's signal until another thread runs, in Python"),
    "ufunc_call_us": FigureKind("us", "lower", "the time of a call of numpy that adds one number"),
    "kernel_launch_us": FigureKind("us", "lower", "the time of starting one of many kernels that follow each other"),
    "kernel_round_trip_us": FigureKind("us", "lower", "the time of one small kernel until the host knows that it has ended"),
}
